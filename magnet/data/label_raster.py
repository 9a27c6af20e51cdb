"""Label files of which only what is asked for is decoded: TIFF, GeoTIFF, COG and JPEG 2000, by GDAL."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.opening import failures, opened
from magnet.images.rasters.geo import GeoRaster
from magnet.images.rasters.open import JP2_MAGIC, open_stored
from magnet.images.rasters.pages import read_pages
from magnet.images.rasters.raster import Box
from magnet.images.rasters.sidecars import companion
from magnet.images.tiff import TiffHead, read_head

__all__ = ["LabelRaster", "Samples", "is_larger", "needs_raster", "open_label_raster"]

_CACHE_BYTES = 1 << 24  # of decoded tiles of one file
_LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33004: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP"}
_LOSSY |= {50002: "JPEG XL", 52546: "JPEG XL"}


class Samples(NamedTuple):
    """What is stored of labels.

    Attributes:
        values: (H, W) whole numbers, or (H, W, 3) uint8 RGB.
        lossy: the compression that may have changed them, as "JPEG"; empty: none.
        palette: (256, 3) uint8 RGB, where values are numbers of its entries.
        valid: (H, W) bool, False where the file says that a pixel has no value; None: all have.
        nodata: the value that stands for none; None: there is none.
    """

    values: np.ndarray
    lossy: str = ""
    palette: np.ndarray | None = None
    valid: np.ndarray | None = None
    nodata: float | None = None


class LabelRaster:
    """A label file that is read by window; made by :func:`open_label_raster`.

    Attributes:
        path: the file.
        raster: what it is read from, samples as stored.
        size: (H, W).
    """

    def __init__(self, path: str | os.PathLike[str], raster: GeoRaster, lossy: str) -> None:
        self.path, self.raster, self.size = path, raster, raster.size
        self._lossy = lossy
        raster.cache_bytes = _CACHE_BYTES

    def close(self) -> None:
        """Close the file; may be called again."""
        self.raster.close()

    def read(self, box: Box, *, colours: bool) -> Samples:
        """The samples within ``box`` (x0, y0, x1, y1), in pixels.

        Args:
            box: within the file.
            colours: whether the classes are colours; of a palette they are those of its entries.

        Raises:
            CorruptImageError: the file is damaged.
            MagNetError: its pixels are neither class ids nor colours, whichever are wanted.
        """
        raster, entries = self.raster, self.raster.entries
        wanted = 3 if colours and entries is None else 1
        if raster.channels != wanted or raster.dtype.kind not in "iu" or (wanted == 3 and raster.dtype != np.uint8):
            raise MagNetError(
                f"labels: expected {'8-bit colours' if colours else 'one band of class ids'}, got {raster.channels} "
                f"bands of {raster.dtype}: '{self.path}'; save the class ids as one 8-bit band, or give the classes "
                "the colours that they have there"
            )
        values, valid = raster.read_level(0, box)
        valid_or_none = None if valid.all() else valid
        if wanted == 3:
            return Samples(values, self._lossy, None, valid_or_none)
        numbers = values[..., 0]
        if entries is None:
            return Samples(numbers, self._lossy, None, valid_or_none, raster.nodata)
        palette = np.full((256, 3), (0, 0, 1), np.uint8)  # no grey stands for the entries that it lacks
        palette[: len(entries)] = entries[:256, :3]
        if colours:
            return Samples(palette[np.minimum(numbers, 255)], self._lossy, None, valid_or_none)
        return Samples(numbers, self._lossy, palette, valid_or_none, raster.nodata)


def open_label_raster(path: str | os.PathLike[str], lossy: str = "") -> LabelRaster | None:
    """A label file to be read by window; None: its format is decoded as a whole.

    Args:
        path: the file.
        lossy: the format by its first bytes, where that may have changed pixels.

    Raises:
        CorruptImageError, MagNetError: as :func:`magnet.open_raster`; and 0 is white.
    """
    raster = open_stored(path)
    if raster is None:
        return None
    head = read_head(path)
    if head is not None and head.white_is_zero:
        raster.close()
        raise MagNetError(
            f"labels: expected grey whose 0 is black, got a TIFF whose 0 is white: '{path}'; save the ids as PNG"
        )
    return LabelRaster(path, raster, lossy or (_LOSSY.get(head.compression, "") if head else ""))


def is_larger(path: str | os.PathLike[str], size: Size) -> bool:
    """Whether a label file that can be read by window has more rows or columns than ``size`` (H, W)."""
    with failures(path), open(path, "rb") as file:
        start = file.read(12)
    if start.startswith(JP2_MAGIC):
        with opened(path) as image:
            found = image.height, image.width
    else:
        with failures(path):
            head = read_head(path)
        if head is None:
            return False
        found = head.size
    return found[0] > size[0] or found[1] > size[1]


def needs_raster(path: str | os.PathLike[str], head: TiffHead) -> bool:
    """Whether a TIFF of labels says more than Pillow reads: which pixels hold none, or ids of more than 8 bits."""
    if head.nodata or head.alpha or head.bits > 8:
        return True
    with failures(path):
        return companion(path, ".msk") is not None or any(page.mask for page in read_pages(path))
