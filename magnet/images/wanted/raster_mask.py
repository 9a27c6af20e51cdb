"""A raster as a mask of another one: its pixels that are not 0 are wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from magnet.bounds import Box
from magnet.errors import MagNetError, shown
from magnet.images.label_files.place import crs_of
from magnet.images.rasters.raster import Place, Raster, Transform
from magnet.images.rasters.transforms import combined, inverse
from magnet.images.wanted.wanted import mask_errors

__all__ = ["RasterMask"]

_WINDOW_BYTES = 1 << 24  # of the mask, read at a time
_TURNED_PIXELS = 1 << 18  # whose places are found one by one at a time, where the mask is turned
_NOISE = 1e-6  # of a pixel: where centres lie on the side between two pixels, the second is taken


class RasterMask:
    """Each pixel of a raster is wanted where the mask's pixel at its centre is not 0 and holds a value.

    Where both have a place they are brought together by it; otherwise they must have one size, or one aspect.

    Args:
        mask: of any type, levels and number of channels, of which one other than 0 is enough.
        raster: that it is a mask of.
        identity: of the mask.

    Raises:
        MagNetError: they lie in two coordinate reference systems, or have neither places nor one aspect; the mask has a
            palette.
    """

    def __init__(self, mask: Raster, raster: Raster, identity: str) -> None:
        if mask.has_palette:
            raise MagNetError(
                f"mask: expected grey or a band of numbers, 0 where pixels are not wanted, but '{mask.name}' has a "
                "palette, whose colours are no numbers; save its numbers without colours"
            )
        self._mask = mask
        self._from_raster = _alignment(mask, raster)
        self.identity = f"mask {identity}"
        there = "lies elsewhere" if not _overlap(self._from_raster, mask, raster) else "is 0 in all of it that is meant"
        self.none_wanted = (
            f"mask: expected pixels that are wanted (not 0) in '{raster.name}', but '{mask.name}' {there}; check its "
            "place and its values"
        )

    def read(self, box: Box) -> np.ndarray:
        x0, y0, x1, y1 = box
        a, b, c, d, e, f = self._from_raster
        if (b or d) and (y1 - y0) * (x1 - x0) > _TURNED_PIXELS:
            return self._read_halves(box)
        xs, ys = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
        columns, rows = a * xs + c, e * ys + f
        if b or d:
            columns, rows = columns + b * ys, rows + d * xs
        height, width = self._mask.size
        columns, rows = (np.floor(one + _NOISE) for one in (columns, rows))
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        if not inside.any():
            return np.zeros((y1 - y0, x1 - x0), bool)
        columns = np.clip(columns, 0, width - 1).astype(np.int64)
        rows = np.clip(rows, 0, height - 1).astype(np.int64)
        left, top, right, bottom = (int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        pixel = self._mask.channels * self._mask.dtype.itemsize
        if (bottom - top) * (right - left) * pixel > _WINDOW_BYTES and inside.size > 1:
            return self._read_halves(box)
        with mask_errors():
            pixels, valid = self._mask.read_level(0, (left, top, right, bottom))
        valid &= (pixels != 0).any(axis=2)
        return valid[rows - top, columns - left] & inside  # type: ignore[no-any-return]

    def _read_halves(self, box: Box) -> np.ndarray:
        x0, y0, x1, y1 = box
        if y1 - y0 >= x1 - x0:
            y = (y0 + y1) // 2
            return np.concatenate([self.read((x0, y0, x1, y)), self.read((x0, y, x1, y1))])
        x = (x0 + x1) // 2
        return np.concatenate([self.read((x0, y0, x, y1)), self.read((x, y0, x1, y1))], axis=1)


def _alignment(mask: Raster, raster: Raster) -> Transform:
    """From pixels of the raster to those of the mask.

    Raises:
        MagNetError: it is not known.
    """
    if mask.place is not None and raster.place is not None:
        same = mask.size == raster.size and mask.place.transform == raster.place.transform
        if not _same_crs(mask.place, raster.place) and not (same and None in (mask.place.crs, raster.place.crs)):
            raise MagNetError(
                f"mask: expected the coordinate reference system of '{raster.name}', {_told(raster.place)}, but "
                f"'{mask.name}' has {_told(mask.place)}; reproject it, as with gdalwarp -t_srs -r near"
            )
        return combined(inverse(mask.place.transform), raster.place.transform)
    (height, width), (rows, columns) = raster.size, mask.size
    # sides are whole numbers, the smaller ones rounded
    if abs(height * columns - width * rows) >= max(height + width, rows + columns):
        raise MagNetError(
            f"mask: expected the size of '{raster.name}', {height}x{width} (HxW), or its aspect, as not both have a "
            f"place, but '{mask.name}' has {rows}x{columns}; give the mask that belongs to it"
        )
    return columns / width, 0.0, 0.0, 0.0, rows / height, 0.0


def _same_crs(one: Place, other: Place) -> bool:
    if one.crs == other.crs:
        return True
    first: Any = crs_of(one)
    second: Any = crs_of(other)
    if first is None or second is None:
        return False
    # what ESRI writes has longitude before latitude, as all transforms here have, but is then not equal to EPSG's
    return bool(first == second or (_code(first) is not None and _code(first) == _code(second)))


def _code(crs: Any) -> tuple[str, str] | None:
    if crs == type(crs).from_user_input("OGC:CRS84"):
        return "EPSG", "4326"
    return crs.to_authority(confidence_threshold=90)  # type: ignore[no-any-return]


def _told(place: Place) -> str:
    crs: Any = crs_of(place)
    if crs is None:
        return "none"
    code = crs.to_authority()
    return ":".join(code) if code else shown(place.crs)


def _overlap(from_raster: Transform, mask: Raster, raster: Raster) -> bool:
    """Whether the boxes around both meet."""
    a, b, c, d, e, f = from_raster
    (height, width), (rows, columns) = raster.size, mask.size
    xs = [a * x + b * y + c for x in (0, width) for y in (0, height)]
    ys = [d * x + e * y + f for x in (0, width) for y in (0, height)]
    return max(xs) > 0 and min(xs) < columns and max(ys) > 0 and min(ys) < rows
