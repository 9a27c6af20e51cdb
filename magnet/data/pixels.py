"""The size of an image of a data set, whatever its bands and values are."""

from __future__ import annotations

import os

from magnet.bounds import Size
from magnet.data.sizes import image_head
from magnet.images.large import fitting_size, past_limit
from magnet.images.opening import check_file, failures
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.pictures import PictureRaster
from magnet.images.tiff import TIFF_MAGIC

__all__ = ["pixels_head"]


def pixels_head(path: str | os.PathLike[str], inputs: InputSettings) -> tuple[Size, int]:
    """(H, W) as stored of an image that is read by ``inputs``, and its orientation tag (1: none).

    Pillow, which tells it of 8-bit RGB and of pictures, does not know TIFFs of any bands and types.

    Raises:
        CorruptImageError: the head of the file cannot be read. MagNetError: it does not exist.
    """
    if inputs.plain or not _is_tiff(path):
        return image_head(path)
    with open_raster(path) as raster:
        if isinstance(raster, PictureRaster):
            return image_head(path)
        return fitting_size(raster.size) if past_limit(raster.size) else raster.size, 1


def _is_tiff(path: str | os.PathLike[str]) -> bool:
    check_file(path)
    with failures(path), open(path, "rb") as file:
        return file.read(4) in TIFF_MAGIC
