"""zarr arrays, and OME-Zarr images, whose multiscales are levels. Local files alone; codecs that are known alone.

Chunks that are not in the store hold no value, as tiles that are not in a TIFF. Writers leave out those of nothing but
the array's fill value, too, by default; so that is told. Where an array names its nodata, as CF and xarray do
(``_FillValue``, ``missing_value``, and the fill value of their arrays of version 2), pixels that have it hold none.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError, shown
from magnet.extras import needed
from magnet.images.opening import CorruptImageError, failures, unreadable
from magnet.images.rasters.arrays import check_layout, pixels_without_value, representable
from magnet.images.rasters.raster import Box, Sides
from magnet.images.rasters.resolution import pixel_sides
from magnet.images.rasters.tiles import Tile, TiledRaster, handy_tile
from magnet.notices import tell

__all__ = ["ZarrRaster", "is_zarr_folder", "is_zarr_object", "open_zarr"]

_MARKS = ("zarr.json", ".zarray", ".zgroup")
# zarr finds codecs by names in the file; one of them, pickle, runs what it reads
_CODECS = {
    *("bytes", "transpose", "sharding_indexed", "vlen-utf8", "endian"),
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
    *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
    *("astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
}
_MICROMETRES = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}
_METRES = {"meter": 1.0, "kilometer": 1e3, "centimeter": 0.01}


def is_zarr_folder(path: Path) -> bool:
    return any((path / name).is_file() for name in _MARKS)


def is_zarr_object(source: Any) -> bool:
    """Whether it is an array or a group of zarr, asked without importing zarr."""
    return type(source).__module__.partition(".")[0] == "zarr" and hasattr(source, "attrs")


def open_zarr(source: Any) -> ZarrRaster:
    """A zarr array, or an OME-Zarr image, by its path or opened by zarr.

    Raises:
        CorruptImageError: it is damaged, or compressed by a codec that is not known.
        MagNetError: zarr is not installed, or a group is no image.
        ValueError: an array of another shape or type.
    """
    name = str(source) if isinstance(source, Path) else str(getattr(source, "store_path", None) or source)
    with needed("zarr", f"'{name}'"):
        import zarr
    opened = source
    if isinstance(source, Path):
        with _named_errors(name):
            opened = zarr.open(zarr.storage.LocalStore(source, read_only=True), mode="r")
    if isinstance(opened, zarr.Array):
        return ZarrRaster(name, [opened], None, None)
    return _open_group(name, opened)


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """zarr and its codecs raise whatever comes."""
    with failures(name):
        try:
            yield
        except (MagNetError, MemoryError):
            raise
        except Exception as error:
            raise unreadable(name, error) from error


def _open_group(name: str, group: Any) -> ZarrRaster:
    with _named_errors(name):
        attributes = dict(group.attrs)
        multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        raise MagNetError(
            f"image: expected an array or an OME-Zarr image (multiscales), but '{name}' is a group of other things; "
            "give the path of an array in it"
        )
    with _named_errors(name):
        image = multiscales[0]
        names = [axis["name"] if isinstance(axis, dict) else axis for axis in image.get("axes", "tczyx")]
        units = {axis["name"]: axis.get("unit") for axis in image.get("axes", ()) if isinstance(axis, dict)}
        arrays = [group[one["path"]] for one in image["datasets"]]
        scales = [_scale(one, image, len(names)) for one in image["datasets"]]
        if sorted(names[-2:]) != ["x", "y"] or names[-2:] != ["y", "x"]:
            raise ValueError(f"its last axes are {shown(names[-2:])}, not y and x")
        for array in arrays:
            if len(array.shape) != len(names):
                raise ValueError(f"an array has {len(array.shape)} axes, not {len(names)}")
    for axis, length in zip(names[:-2], arrays[0].shape, strict=False):
        if axis != "c" and length > 1:
            raise MagNetError(
                f"image: expected one picture, but '{name}' has {length} along its axis {shown(axis)}; pass the "
                "one that is meant as an (H, W, C) array"
            )
    factors = tuple((one[-2] / scales[0][-2], one[-1] / scales[0][-1]) for one in scales)
    return ZarrRaster(name, arrays, names, factors, _sides(scales[0], units))


def _scale(dataset: dict[str, Any], image: dict[str, Any], axes: int) -> list[float]:
    """The lengths of a pixel of a level along all axes."""
    scale = [1.0] * axes
    for transform in [*dataset.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]:
        if transform.get("type") == "scale":
            scale = [a * float(b) for a, b in zip(scale, transform["scale"], strict=True)]
    if not all(math.isfinite(v) and v > 0 for v in scale):
        raise ValueError(f"its scale is {shown(scale)}")
    return scale


def _sides(scale: list[float], units: dict[str, Any]) -> Sides | None:
    for known, unit in ((_MICROMETRES, "um"), (_METRES, "m")):
        if units.get("y") in known and units.get("x") in known:
            return pixel_sides(scale[-2] * known[units["y"]], scale[-1] * known[units["x"]], unit)
    return None


def _codecs(metadata: Any) -> Iterable[str]:
    """The names of all codecs in the description of an array, those within others too."""
    if isinstance(metadata, dict):
        for key in ("name", "id"):
            if isinstance(metadata.get(key), str):
                yield metadata[key]
        for key in ("codecs", "index_codecs", "configuration", "compressor", "filters", "compressors"):
            yield from _codecs(metadata.get(key))
    elif isinstance(metadata, list | tuple):
        for one in metadata:
            yield from _codecs(one)


def _nodata(array: Any) -> float | None:
    """The value that pixels without a value have, as CF and xarray name it; None: none is named."""
    attributes = dict(array.attrs)
    for key in ("_FillValue", "missing_value"):
        value = attributes.get(key)
        value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
        if isinstance(value, str):  # of floats, as xarray writes it
            with contextlib.suppress(ValueError, struct.error):
                (value,) = struct.unpack("<d", base64.b64decode(value, validate=True))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes and array.fill_value is not None:
        return np.asarray(array.fill_value).item()  # type: ignore[no-any-return]
    return None


class ZarrRaster(TiledRaster):
    """Arrays of zarr as levels: (H, W) or (H, W, C) as NumPy's are, or with the axes of OME-Zarr."""

    def __init__(
        self,
        name: str,
        arrays: list[Any],
        axes: list[str] | None,
        factors: tuple[tuple[float, float], ...] | None,
        sides: Sides | None = None,
    ) -> None:
        self._arrays = arrays
        shapes = []
        for array in arrays:
            with _named_errors(name):
                known = {one.removeprefix("numcodecs.") for one in _codecs(array.metadata.to_dict())}
            if known - _CODECS:
                raise CorruptImageError(
                    f"image: expected a zarr array of known codecs, but '{name}' has {shown(sorted(known - _CODECS))}; "
                    "write it anew with blosc, zstd or gzip"
                )
            shape = tuple(int(v) for v in array.shape)
            shapes.append(shape if axes is None else self._layout(axes, shape))
            check_layout(name, shapes[-1], array.dtype)
        self._axes = axes
        channels = shapes[0][2] if len(shapes[0]) == 3 else 1
        levels: tuple[Size, ...] = tuple((shape[0], shape[1]) for shape in shapes)
        if any(shape[2:] != shapes[0][2:] for shape in shapes) or any(a.dtype != arrays[0].dtype for a in arrays):
            raise CorruptImageError(
                f"image: expected levels of one type and number of channels, but those of '{name}' differ; "
                "write it anew"
            )
        kind = np.dtype(arrays[0].dtype).newbyteorder("=")
        with _named_errors(name):
            nodata = _nodata(arrays[0])
        super().__init__(name, levels, channels, kind, sides=sides, nodata=representable(nodata, kind))
        if factors is not None:
            # scales that are rounded sizes, as 2.002, are no better than the sizes
            self.factors = tuple(
                mine if abs(mine[0] / one[0] - 1) < 0.01 and abs(mine[1] / one[1] - 1) < 0.01 else one
                for mine, one in zip(self.factors, factors, strict=True)
            )
        self.tiles = tuple(
            handy_tile(self._chunk(array), level, channels * kind.itemsize)
            for array, level in zip(arrays, levels, strict=True)
        )

    @staticmethod
    def _layout(axes: list[str], shape: tuple[int, ...]) -> tuple[int, ...]:
        """(H, W, C) of an array with the axes of OME-Zarr, in which channels come before rows."""
        return (*shape[-2:], shape[axes.index("c")] if "c" in axes else 1)

    def _chunk(self, array: Any) -> Size:
        rows, columns = array.chunks[:2] if self._axes is None else array.chunks[-2:]
        return int(rows), int(columns)

    def _decode(self, level: int, box: Box) -> Tile:
        x0, y0, x1, y1 = box
        array = self._arrays[level]
        with _named_errors(self.name):
            if self._axes is None:
                stored = np.asarray(array[y0:y1, x0:x1])
                pixels = stored if stored.ndim == 3 else stored[..., None]
            else:
                index = tuple(slice(None) if axis == "c" else 0 for axis in self._axes[:-2])
                stored = np.asarray(array[(*index, slice(y0, y1), slice(x0, x1))])
                pixels = np.moveaxis(stored, 0, -1) if stored.ndim == 3 else stored[..., None]
            absent = self._absent(array, box, pixels)
        pixels = np.ascontiguousarray(pixels, self.dtype)
        wrong = pixels_without_value(pixels, self.nodata)
        if absent is not None:
            wrong = absent if wrong is None else wrong | absent
        return pixels, None if wrong is None else ~wrong

    def _absent(self, array: Any, box: Box, pixels: np.ndarray) -> np.ndarray | None:
        """(h, w) bool, True where no chunk of any channel is in the store; None: nowhere."""
        x0, y0, x1, y1 = box
        fill = np.asarray(0 if array.fill_value is None else array.fill_value).astype(self.dtype)
        if fill.dtype.kind == "f" and np.isnan(fill):
            return None  # such pixels hold no value anyway
        rows, columns = self._chunk(array)
        absent = np.zeros(pixels.shape[:2], bool)
        for row in range(y0 // rows, -(-y1 // rows)):
            for column in range(x0 // columns, -(-x1 // columns)):
                part = (
                    slice(max(row * rows - y0, 0), (row + 1) * rows - y0),
                    slice(max(column * columns - x0, 0), (column + 1) * columns - x0),
                )
                if (pixels[part] == fill).all() and not self._is_stored(array, row, column):
                    absent[part] = True
        if not absent.any():
            return None
        tell(
            "lack chunks, which are taken to hold no value",
            self.name,
            f"lacks chunks, which stand for its fill value ({fill:g}), and are taken to hold no value",
            "if such pixels are meant, write these chunks, too (write_empty_chunks of zarr)",
        )
        return absent

    def _is_stored(self, array: Any, row: int, column: int) -> bool:
        """Whether the store has the chunk of a place, of any channel. One of a shard that is all of the fill value is
        taken not to be there, as writers leave it out."""
        from zarr.core.sync import sync

        if array.shards is not None:
            return False
        axes = ["y", "x", "c"] if self._axes is None else self._axes
        numbers: list[Iterable[int]] = []
        for axis, length, chunk in zip(axes, array.shape, array.chunks, strict=False):
            here = {"y": (row,), "x": (column,), "c": range(-(-length // chunk))}
            numbers.append(here.get(axis, (0,)))
        keys = (array.metadata.encode_chunk_key(one) for one in itertools.product(*numbers))
        return any(sync((array.store_path / key).exists()) for key in keys)
