"""Reading a whole image as a network sees it, by the settings of its input."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.large import fitting_size, open_image, past_limit
from magnet.images.rasters.arrays import ArrayRaster
from magnet.images.rasters.declared_range import tell_range_of_whole
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import check_page, open_raster
from magnet.images.rasters.pictures import PictureRaster
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.zarrs import is_zarr_folder
from magnet.images.read import CorruptImageError, LargeImageError, read_grey

__all__ = ["InputImage", "open_input", "open_turned", "read_input"]


class InputImage(NamedTuple):
    """A whole image as a network sees it.

    pixels: (h, w, channels) uint8, or float32 in [0, 1]; valid: (h, w) bool, where there are values (None: not asked
    of 8-bit RGB); size: (H, W) of the file, whose pixels these are unless it is past Pillow's size limit; turned: the
    orientation tag, 1 where there is none.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    size: Size
    turned: int


def read_input(
    path: str | os.PathLike[str],
    inputs: InputSettings,
    *,
    upright: bool = True,
    fitting: Callable[[Size], Size] = fitting_size,
    page: int | None = None,
) -> InputImage:
    """Read an image file as networks see it.

    Args:
        path: an image of any kind that ``magnet.open_raster`` reads.
        inputs: 8-bit RGB is read by the rules of ``magnet.images.read``; else its bands and values are those of the
            file.
        upright: turn pictures as their EXIF tag says.
        fitting: (H, W) of a file past Pillow's size limit -> that it is read at.
        page: the number of a page of a TIFF, from 0; None: it has to be one picture.

    Raises:
        CorruptImageError: the file is damaged, or no image.
        BandsError: it has other bands or values than ``inputs`` say. MagNetError: it is not there, has no such page, or
            is an array of zarr, which 8-bit RGB is not made of.
        TypeError, ValueError: ``page`` is no number, or the file has no pages.
    """
    page = check_page(path, page)
    if inputs.plain:
        if is_zarr_folder(Path(path)):
            raise MagNetError(
                f"image: expected a picture, but '{path}' is an array of zarr; give it to predict_raster (--extent "
                "ground)"
            )
        image = open_image(path, upright=upright, page=page)
        return InputImage(image.at_most(fitting(image.size)), None, image.size, image.turned)
    raster, turned = open_input(path, upright=upright, page=page)
    with raster:
        convert = inputs.of(raster)
        height, width = raster.size
        box = (0, 0, width, height)
        if past_limit(raster.size):
            pixels, valid = raster.read(box, fitting(raster.size))
        else:
            pixels, valid = raster.read_level(0, box)
        tell_range_of_whole(path, inputs.chosen, convert, pixels, valid)
        return InputImage(convert.seen(pixels, valid), valid, raster.size, turned)


def open_input(path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None) -> tuple[Raster, int]:
    """An image file as a raster whose bands are those of the file, and its orientation tag (1: none).

    ``magnet.open_raster`` makes RGB of all that Pillow reads; here grey pictures have their one band, of 8 or 16 bits.
    """
    if page is None and os.path.isfile(path):  # pages are of TIFFs
        with contextlib.suppress(CorruptImageError, LargeImageError):  # which are told of, or read, below
            grey = read_grey(path, upright=upright)
            if grey is not None:
                return ArrayRaster(grey[0], os.fspath(path)), grey[1]
    raster = open_turned(path, upright=upright, page=page)
    return raster, raster.turned if isinstance(raster, PictureRaster) else 1


def open_turned(path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None) -> Raster:
    """``magnet.open_raster``; ``upright=False`` leaves pictures as they are stored."""
    raster = open_raster(path, page=page)
    if upright or not isinstance(raster, PictureRaster) or raster.turned == 1:
        return raster
    raster.close()
    return PictureRaster(path, upright=False, page=page)
