"""What GDAL decodes, with all bands in their own type; see :mod:`magnet.images.rasters.gdal` for how it is asked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.images.opening import CorruptImageError, unreadable
from magnet.images.rasters.arrays import pixels_without_value, representable
from magnet.images.rasters.blocks import check_deflate, lacks_blocks, missing_blocks
from magnet.images.rasters.gdal import WARNINGS, Handles, Source, named_errors
from magnet.images.rasters.raster import Box, Place, Sides, Transform
from magnet.images.rasters.sidecars import world_file
from magnet.images.rasters.tiles import Tile, TiledRaster, handy_tile
from magnet.images.rasters.where import IDENTITY, crs_beside, place_and_sides
from magnet.images.tiff import TiffHead
from magnet.notices import tell

__all__ = ["GeoRaster"]

_MOST_BYTES = 1 << 31  # of a strip or a tile
_KNOWN = ("red", "green", "blue", "nir")


class _Level(NamedTuple):
    """A level, where its mask is (None: nowhere else), and the size of its blocks as stored."""

    source: Source
    size: Size
    block: Size
    mask: Source | None = None


class GeoRaster(TiledRaster):
    """What GDAL opens; made by :mod:`magnet.images.rasters.tiffs`.

    Attributes:
        entries: (n, 4) uint8 RGBA of the palette, where pixels are numbers of its entries; None: they are not.
    """

    def __init__(
        self,
        path: Path,
        sources: list[Source],
        head: TiffHead | None,
        masks: dict[Size, Source] | None = None,
        indexed: bool = False,
    ) -> None:
        self._path = path
        self._indexed = indexed
        self._head = head
        self._handles = Handles()
        try:
            with named_errors(path):
                self._open(sources, masks)
        except BaseException:
            self._handles.close()
            raise

    def _open(self, sources: list[Source], masks: dict[Size, Source] | None) -> None:
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
            self._palette, self.has_palette = _palette(file.colormap(1)) if coloured else None, coloured
            roles = ["gray" if role == "palette" else role for role in roles]
            nodata = file.nodatavals[0]
            descriptions = file.descriptions
            place, sides = self._where(file)
            told = self._alpha is not None or self._masked or nodata is not None or kind.kind == "f" or masks
            self.may_be_invalid = bool(told) or lacks_blocks(file)
        self.entries = self._palette if self._indexed else None
        channels, limits = len(self._bands), None
        names = [_name(roles[i - 1], descriptions[i - 1]) for i in self._bands]
        self._stored_nodata = nodata = representable(nodata, kind)
        self._most: int | None = None
        if self._palette is not None and not self._indexed:
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
            sides=sides,
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

    def _where(self, file: Any) -> tuple[Place | None, Sides | None]:
        """Place, and sides of a pixel."""
        a, b, c, d, e, f = (float(v) for v in file.transform[:6])
        transform: Transform = (a, b, c, d, e, f)
        if transform == IDENTITY:
            transform = world_file(self._path) or transform
        if transform == IDENTITY and file.gcps[0]:
            tell(
                "are placed by control points, which are not used",
                self._path,
                f"is placed by {len(file.gcps[0])} control points, which are not used",
                "make it a raster with a transform, as gdalwarp does",
            )
        crs = file.crs
        if (crs is None or not crs.wkt) and transform != IDENTITY:
            crs = crs_beside(self._path)
        return place_and_sides(transform, crs, (file.height, file.width))

    def _close(self) -> None:
        super()._close()
        self._handles.close()

    def _decode(self, level: int, box: Box) -> Tile:
        from rasterio.windows import Window

        x0, y0, x1, y1 = box
        window = Window(x0, y0, x1 - x0, y1 - y0)
        where = self._levels[level]
        with named_errors(self._path):
            with self._handles.lent(where.source) as file, WARNINGS.gathered() as warnings:
                stored = np.ascontiguousarray(np.moveaxis(file.read(window=window), 0, -1))
                wrong: list[np.ndarray] = []
                if self._alpha is not None:
                    wrong.append(stored[..., self._alpha - 1] == 0)
                elif self._masked:
                    wrong.append(file.read_masks(self._bands[0], window=window) == 0)
                missing = None
                if where.source.driver == "GTiff":
                    missing = missing_blocks(file, where.block, box)
                    check_deflate(where.source.file, file, where.block, box, stored)
            if where.mask is not None:
                with self._handles.lent(where.mask) as mask, WARNINGS.gathered() as more:
                    wrong.append(mask.read(1, window=window) == 0)
                warnings += more
        if warnings:
            raise unreadable(self._path, warnings[0])
        pixels = stored
        if self._alpha is not None:
            pixels = np.ascontiguousarray(stored[..., [band - 1 for band in self._bands]])
        wrong += [one for one in (missing, pixels_without_value(pixels, self._stored_nodata)) if one is not None]
        if self._palette is not None:
            entries = self._palette[np.minimum(pixels[..., 0], len(self._palette) - 1)]
            wrong.append(entries[..., 3] == 0)
            pixels = pixels if self._indexed else np.ascontiguousarray(entries[..., :3])
        if self._most is not None:
            pixels = (self._most - pixels).astype(pixels.dtype)
        invalid = np.logical_or.reduce(wrong) if wrong else None
        return pixels, None if invalid is None or not invalid.any() else ~invalid


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
