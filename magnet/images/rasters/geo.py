"""TIFF, BigTIFF, GeoTIFF, COG and JPEG 2000, by rasterio (GDAL), with all bands in their own type.

GDAL opens far more than pictures, some of it files that name other files, addresses or programs. It is given one
driver, found by the first bytes, an absolute path of an ordinary file, and nothing that lies beside it (see
:mod:`magnet.images.rasters.sidecars`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError, failures, quiet, unreadable
from magnet.images.rasters.arrays import invalid_numbers
from magnet.images.rasters.extras import needed
from magnet.images.rasters.pages import TiffPage, choose_page, is_smaller, levels_of, read_pages, same_kind
from magnet.images.rasters.raster import Box, Place, Resolution
from magnet.images.rasters.resolution import degree_lengths, square
from magnet.images.rasters.sidecars import companion, world_file
from magnet.images.rasters.tiles import Tile, TiledRaster, handy_tile
from magnet.images.tiff import DAMAGE, TiffHead
from magnet.notices import tell

__all__ = ["GeoRaster", "open_jp2", "open_tiff"]

_OPTIONS = {
    "GDAL_PAM_ENABLED": "NO",  # .aux.xml may name other files
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
}
_OF_TAGS = re.compile("Directory|TIFFFetch|unknown field", re.IGNORECASE)  # warnings that are not of pixels
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_PSEUDO_MERCATOR = 3857
_MOST_BYTES = 1 << 31  # of a strip or a tile
_KNOWN = ("red", "green", "blue", "nir")


class _Source(NamedTuple):
    """How a level is opened: what GDAL is given as its name, the overview of it, and the driver."""

    path: str
    overview: int | None = None
    driver: str = "GTiff"


class _Handles:
    """Opened levels. rasterio's are for one thread at a time: each is lent to one, and opened anew if none is free."""

    def __init__(self) -> None:
        self._free: dict[_Source, list[Any]] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @contextlib.contextmanager
    def lent(self, source: _Source) -> Iterator[Any]:
        import rasterio

        with self._lock:
            if self._process != os.getpid():  # a forked process shares the positions in files with its parent
                self._free, self._process = {}, os.getpid()
            free = self._free.setdefault(source, [])
            handle = free.pop() if free else None
        with rasterio.Env(**_OPTIONS):
            if handle is None:
                more = {} if source.overview is None else {"OVERVIEW_LEVEL": source.overview}
                with quiet():
                    handle = rasterio.open(source.path, driver=source.driver, sharing=False, **more)
            try:
                yield handle
            finally:
                with self._lock:
                    kept = not self._closed and self._process == os.getpid()
                    if kept:
                        self._free.setdefault(source, []).append(handle)
                if not kept:
                    handle.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            handles = [one for free in self._free.values() for one in free] if self._process == os.getpid() else []
            self._free = {}
        for one in handles:
            one.close()


class _Warnings(logging.Handler):
    """What GDAL warns of in this thread. Of a JPEG that is cut short libtiff only warns, and makes the rest up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._mine = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if getattr(self._mine, "texts", None) is not None and not _OF_TAGS.search(text):
            self._mine.texts.append(text)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[list[str]]:
        for name in ("rasterio._env", "rasterio._err"):
            logger = logging.getLogger(name)
            if self not in logger.handlers:
                logger.addHandler(self)
            if logger.getEffectiveLevel() > logging.WARNING:
                logger.setLevel(logging.WARNING)
        self._mine.texts = []
        try:
            yield self._mine.texts
        finally:
            self._mine.texts = None


_WARNINGS = _Warnings()
logging.getLogger("rasterio").addHandler(logging.NullHandler())  # what it logs is told here in our words


@contextlib.contextmanager
def _named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever fails in rasterio is told of the file, with the reason that GDAL gave."""
    import rasterio.errors

    with failures(path):
        try:
            yield
        except (rasterio.errors.RasterioError, rasterio.errors.RasterioIOError) as error:
            reason = error.__cause__ or error
            if "missing codec" in str(reason):
                raise CorruptImageError(
                    f"image: expected a compression that GDAL decodes, got another one ({reason}); save it anew, as by "
                    f"deflate or LZW: '{path}'"
                ) from error
            raise unreadable(path, reason) from error


class _Level(NamedTuple):
    """A level, where its mask is (None: nowhere else), and the size of its blocks as stored."""

    source: _Source
    size: Size
    block: Size
    mask: _Source | None = None


class GeoRaster(TiledRaster):
    """What GDAL opens; made by :func:`open_tiff` and :func:`open_jp2`."""

    def __init__(
        self,
        path: Path,
        sources: list[_Source],
        head: TiffHead | None,
        masks: dict[Size, _Source] | None = None,
    ) -> None:
        self._path = path
        self._head = head
        self._handles = _Handles()
        try:
            with _named_errors(path):
                self._open(sources, masks)
        except BaseException:
            self._handles.close()
            raise

    def _open(self, sources: list[_Source], masks: dict[Size, _Source] | None) -> None:
        stored: dict[Size, _Level] = {}
        for source in sources:
            with self._handles.lent(source) as file:
                size = file.height, file.width
                # without a mask of a level it is not known which of its pixels are valid
                if masks is None or size in masks:
                    stored.setdefault(size, _Level(source, size, file.block_shapes[0], (masks or {}).get(size)))
        self._levels = sorted(stored.values(), key=lambda one: one.size, reverse=True)
        if not self._levels or self._levels[0].source != sources[0]:
            raise CorruptImageError(
                f"image: expected a mask of the size of the image beside it, but that of '{self._path}' is of another; "
                "make it anew, or remove it"
            )
        with self._handles.lent(sources[0]) as file:
            if "OVERVIEW_FILE" in file.tags(ns="OVERVIEWS"):
                raise CorruptImageError(
                    f"image: expected an image that names no other file, but '{self._path}' names one with its "
                    "overviews; save it anew"
                )
            kind = np.dtype(file.dtypes[0])
            block = math.prod(file.block_shapes[0]) * len(file.dtypes) * kind.itemsize
            if block > _MOST_BYTES and sources[0].driver == "GTiff":
                raise CorruptImageError(
                    f"image: expected strips or tiles of at most {_MOST_BYTES >> 30} GiB, got {block >> 30} GiB in "
                    f"'{self._path}', which would be decoded for each of its pixels; save it in tiles"
                )
            if kind.kind not in "iuf" or len(set(file.dtypes)) > 1:
                raise CorruptImageError(
                    f"image: expected integers or floats of one type, got {', '.join(sorted(set(file.dtypes)))}; "
                    f"convert '{self._path}', as with gdal_translate -ot Float32"
                )
            roles = [one.name for one in file.colorinterp]
            self._alpha = roles.index("alpha") + 1 if "alpha" in roles else None
            self._bands = [i + 1 for i, role in enumerate(roles) if role != "alpha"]
            if not self._bands:
                raise CorruptImageError(
                    f"image: expected bands besides alpha, got none in '{self._path}'; save it with its colours"
                )
            self._masked = self._alpha is None and any(flag.name == "per_dataset" for flag in file.mask_flag_enums[0])
            bits = int(file.tags(self._bands[0], ns="IMAGE_STRUCTURE").get("NBITS", kind.itemsize * 8))
            # GDAL makes palettes, of bytes, of grey whose 0 is white, too
            coloured = roles == ["palette"] and (not self._head or bits == 1 or self._head.meaning == "palette")
            self._palette = _palette(file.colormap(1)) if coloured else None
            roles = ["gray" if role == "palette" else role for role in roles]
            nodata = file.nodatavals[0]
            descriptions = file.descriptions
            place, resolution = self._where(file)
        channels, limits = len(self._bands), None
        names = [_name(roles[i - 1], descriptions[i - 1]) for i in self._bands]
        self._stored_nodata = nodata = _representable(nodata, kind)
        self._most: int | None = None
        if self._palette is not None:
            channels, kind, names, nodata = 3, np.dtype(np.uint8), ["red", "green", "blue"], None
        else:
            limits = self._head.limits if self._head else None
            if limits is None and kind.kind == "u" and bits < kind.itemsize * 8:
                limits = 0.0, float((1 << bits) - 1)
            if self._head and self._head.white_is_zero:
                self._most = self._inverted(kind, bits, limits)
                nodata = None if nodata is None else self._most - nodata
        super().__init__(
            str(self._path),
            tuple(one.size for one in self._levels),
            channels,
            kind,
            resolution=resolution,
            place=place,
            nodata=nodata,
            colours=tuple(names),
            limits=limits,
        )
        pixel = (len(self._bands) + (self._alpha is not None)) * kind.itemsize
        self.tiles = tuple(handy_tile(one.block, one.size, pixel) for one in self._levels)

    def _inverted(self, kind: np.dtype, bits: int, limits: tuple[float, float] | None) -> int:
        """The value that is black in an image whose 0 is white."""
        if kind.kind != "u" or (limits is not None and limits != (0.0, (1 << bits) - 1)):
            raise CorruptImageError(
                "image: expected grey whose 0 is black (photometric 1), got grey whose 0 is white, of "
                f"{self._head}; invert the values of '{self._path}'"
            )
        return (1 << bits) - 1

    def _where(self, file: Any) -> tuple[Place | None, Resolution | None]:
        """Place and resolution."""
        transform = tuple(float(v) for v in file.transform[:6])
        if transform == _IDENTITY:
            transform = world_file(self._path) or transform
        crs = file.crs
        if crs is None or not crs.wkt:
            return (None if transform == _IDENTITY else Place(None, transform)), None  # type: ignore[arg-type]
        if transform == _IDENTITY:
            return Place(crs.wkt, _IDENTITY), None
        a, b, _, d, e, f = transform
        y = d * file.width / 2 + e * file.height / 2 + f  # of the centre
        if crs.is_geographic:
            north, east = degree_lengths(min(max(y, -90.0), 90.0))
        elif crs.is_projected:
            north = east = float(crs.linear_units_factor[1])
            if crs.to_epsg() == _PSEUDO_MERCATOR:  # whose metres are those of the equator
                north = east = east / math.cosh(y / 6378137.0)
        else:
            return Place(crs.wkt, transform), None  # type: ignore[arg-type]
        height, width = math.hypot(b * east, e * north), math.hypot(a * east, d * north)
        return Place(crs.wkt, transform), square(height, width, "m", str(self._path))  # type: ignore[arg-type]

    def _close(self) -> None:
        super()._close()
        self._handles.close()

    def _decode(self, level: int, box: Box) -> Tile:
        from rasterio.windows import Window

        x0, y0, x1, y1 = box
        window = Window(x0, y0, x1 - x0, y1 - y0)
        where = self._levels[level]
        with _named_errors(self._path):
            with self._handles.lent(where.source) as file, _WARNINGS.gathered() as warnings:
                stored = file.read(self._bands, window=window)
                wrong: list[np.ndarray] = []
                if self._alpha is not None:
                    wrong.append(file.read(self._alpha, window=window) == 0)
                elif self._masked:
                    wrong.append(file.read_masks(self._bands[0], window=window) == 0)
                missing = _missing_blocks(file, where, box) if where.source.driver == "GTiff" else None
            if where.mask is not None:
                with self._handles.lent(where.mask) as mask, _WARNINGS.gathered() as more:
                    wrong.append(mask.read(1, window=window) == 0)
                warnings += more
        if warnings:
            raise unreadable(self._path, warnings[0])
        pixels = np.ascontiguousarray(np.moveaxis(stored, 0, -1))
        wrong += [one for one in (missing, self._without_value(pixels)) if one is not None]
        if self._palette is not None:
            entries = self._palette[np.minimum(pixels[..., 0], len(self._palette) - 1)]
            wrong.append(entries[..., 3] == 0)
            pixels = np.ascontiguousarray(entries[..., :3])
        if self._most is not None:
            pixels = (self._most - pixels).astype(pixels.dtype)
        invalid = np.logical_or.reduce(wrong) if wrong else None
        return pixels, None if invalid is None or not invalid.any() else ~invalid

    def _without_value(self, pixels: np.ndarray) -> np.ndarray | None:
        """Where pixels are nodata or no numbers.

        Of unsigned values nodata is one that pixels may have, such as 0: only where all bands have it there is none.
        Others, such as -9999, are never measured: one band is enough.
        """
        wrong = invalid_numbers(pixels)
        if self._stored_nodata is not None:
            same = pixels == np.asarray(self._stored_nodata, pixels.dtype)  # NaN is found already
            there = same.all(axis=2) if pixels.dtype.kind == "u" else same.any(axis=2)
            wrong = there if wrong is None else wrong | there
        return wrong


def _representable(nodata: float | None, kind: np.dtype) -> float | None:
    """The value as pixels hold it; None where they cannot, as -9999 of bytes."""
    if nodata is None or kind.kind == "f":
        return nodata
    limits = np.iinfo(kind)
    return int(nodata) if math.isfinite(nodata) and limits.min <= nodata <= limits.max and nodata % 1 == 0 else None


def _palette(colours: dict[int, tuple[int, int, int, int]]) -> np.ndarray:
    """(entries, 4) uint8 RGBA."""
    table = np.zeros((max(colours) + 1, 4), np.uint8)
    for number, colour in colours.items():
        table[number] = colour
    return table


def _name(role: str, description: str | None) -> str:
    """What a band is called: by its role, or where that says nothing by its text."""
    text = (description or "").strip().lower()
    return text if text in _KNOWN or (text and role == "undefined") else role


def _missing_blocks(file: Any, level: _Level, box: Box) -> np.ndarray | None:
    """Where blocks are not in the file, which then hold no values: GDAL reads them as nodata, or as 0."""
    x0, y0, x1, y1 = box
    height, width = level.block
    missing = np.zeros((y1 - y0, x1 - x0), bool)
    for row in range(y0 // height, -(-y1 // height)):
        for column in range(x0 // width, -(-x1 // width)):
            item = f"BLOCK_OFFSET_{column}_{row}"
            if any(file.get_tag_item(item, "TIFF", band) is None for band in range(1, file.count + 1)):
                top, left = max(row * height - y0, 0), max(column * width - x0, 0)
                missing[top : (row + 1) * height - y0, left : (column + 1) * width - x0] = True
    return missing if missing.any() else None


def _absolute(path: str | os.PathLike[str]) -> Path:
    absolute = Path(os.path.abspath(os.fspath(path)))
    if str(absolute).startswith("/vsi"):
        raise MagNetError(
            f"image: expected a file whose path does not begin with /vsi, by which GDAL opens what is no file, "
            f"got '{path}'; move the file"
        )
    return absolute


def open_tiff(path: str | os.PathLike[str], pages: list[TiffPage], page: int | None) -> GeoRaster:
    """A TIFF.

    Args:
        pages: of the file, see :func:`magnet.images.rasters.pages.read_pages`.
        page: the number of the one that is meant; None: the largest.

    Raises:
        CorruptImageError: it is damaged, or its pixels have no known meaning.
        MagNetError: several pages may be meant, or rasterio is not installed.
    """
    with needed("geo", f"the TIFF '{path}'"):
        import rasterio  # noqa: F401
    absolute = _absolute(path)
    main = choose_page(pages, page, os.fspath(path))
    levels = levels_of(pages, main)
    _tell_others(pages, main, levels, path)
    first = main.offset == pages[0].offset
    # GDAL finds the mask of the first page alone, and of its overviews; other pages are opened by their offsets
    masked = any(one.mask for one in pages)
    if masked and not first:
        raise CorruptImageError(
            f"image: expected masks only of the first page, but '{path}' has some and page {main.number} is the one "
            "that is meant; save it as a file of its own"
        )
    sources = [_Source(str(absolute) if first else f"GTIFF_DIR:off:{main.offset}:{absolute}")]
    if masked:
        sources += [_Source(str(absolute), i) for i in range(_overviews(absolute, "GTiff"))]
    else:
        sources += [_Source(f"GTIFF_DIR:off:{one.offset}:{absolute}") for one in levels]
    masks = None
    if first:
        sources += _beside(absolute, ".ovr", main.head)
        masks = _masks(absolute)
    return GeoRaster(absolute, sources, main.head, masks)


def open_jp2(path: str | os.PathLike[str]) -> GeoRaster:
    """A JPEG 2000 file; its resolutions are levels.

    Raises:
        CorruptImageError, MagNetError: as :func:`open_tiff`.
    """
    with needed("geo", f"the JPEG 2000 file '{path}'"):
        import rasterio  # noqa: F401
    absolute = _absolute(path)
    driver = "JP2OpenJPEG"
    levels = [_Source(str(absolute), i, driver) for i in range(_overviews(absolute, driver))]
    return GeoRaster(absolute, [_Source(str(absolute), None, driver), *levels], None)


def _overviews(path: Path, driver: str) -> int:
    handles = _Handles()
    try:
        with _named_errors(path), handles.lent(_Source(str(path), None, driver)) as file:
            return len(file.overviews(1))
    finally:
        handles.close()


def _beside(path: Path, suffix: str, head: TiffHead) -> list[_Source]:
    """The pages of a file beside it that are less detailed."""
    other = companion(path, suffix)
    if other is None:
        return []
    return [
        _Source(f"GTIFF_DIR:off:{one.offset}:{other}")
        for one in _pages_of(other)
        if not one.mask and same_kind(one.head, head) and is_smaller(one.head.size, head.size)
    ]


def _masks(path: Path) -> dict[Size, _Source] | None:
    """The masks beside a file, by their sizes; None: there are none."""
    masks: dict[Size, _Source] = {}
    for suffix in (".msk", ".msk.ovr"):
        other = companion(path, suffix)
        for one in _pages_of(other) if other else ():
            masks.setdefault(one.head.size, _Source(f"GTIFF_DIR:off:{one.offset}:{other}"))
    return masks or None


def _pages_of(path: Path) -> list[TiffPage]:
    with failures(path):
        try:
            return read_pages(path)
        except DAMAGE as error:
            raise unreadable(path, error) from error


def _tell_others(pages: list[TiffPage], main: TiffPage, levels: list[TiffPage], path: str | os.PathLike[str]) -> None:
    used = {main.offset, *(one.offset for one in levels)}
    others = [one for one in pages if one.offset not in used and not (one.mask or one.reduced or one.below)]
    smaller = [one for one in others if sorted(one.head.size) != sorted(main.head.size)]
    if smaller:
        height, width = main.head.size
        tell(
            "have smaller pages besides the one that is read",
            path,
            f"has {len(smaller)} smaller pages besides the one of {height}x{width} (HxW) that is read",
            "for another page, give its number (page=N)",
        )
