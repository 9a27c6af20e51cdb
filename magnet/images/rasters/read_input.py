"""Reading a whole image as a network sees it, by the settings of its input."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.images.large import fitting_size, open_image, past_limit
from magnet.images.rasters.arrays import ArrayRaster
from magnet.images.rasters.channels import ToTensor
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import check_page, open_raster
from magnet.images.rasters.pictures import PictureRaster
from magnet.images.rasters.raster import Raster
from magnet.images.read import CorruptImageError, LargeImageError, read_grey
from magnet.notices import tell

__all__ = ["InputImage", "open_input", "read_input"]

_SAMPLE = 1 << 20  # pixels whose values are compared with the range
_OUTSIDE = 0.1  # share of the values; percentiles leave out 0.04
_DARK = 1 / 6  # of the range, as in magnet.images.read


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
        BandsError: it has other bands or values than ``inputs`` say. MagNetError: it is not there, or has no such page.
        TypeError, ValueError: ``page`` is no number, or the file has no pages.
    """
    page = check_page(path, page)
    if inputs.plain:
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
        if isinstance(inputs.value_range, tuple):
            _tell_range(path, convert, pixels, valid)
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
    raster = open_raster(path, page=page)
    if not isinstance(raster, PictureRaster):
        return raster, 1
    if raster.turned != 1 and not upright:
        raster.close()
        raster = PictureRaster(path, upright=False, page=page)
    return raster, raster.turned


def _tell_range(path: str | os.PathLike[str], convert: ToTensor, pixels: np.ndarray, valid: np.ndarray) -> None:
    """Tell of an image whose values are not in the range that is declared, or fill little of it."""
    assert convert.ranges is not None
    step = max(1, round((valid.size / _SAMPLE) ** 0.5))
    values = pixels[::step, ::step][valid[::step, ::step]][:, list(convert.index)].astype(np.float64)
    if not values.size:
        return
    low, high = (np.array(ends) for ends in zip(*convert.ranges, strict=True))
    span = f"{values.min():g} to {values.max():g}"
    outside = float(((values < low) | (values > high)).mean())
    if outside > _OUTSIDE:
        tell(
            "hold many values outside of the declared range",
            path,
            f"holds values of {span}, of which {100 * outside:.0f}% lie outside of the declared range and come out "
            "black or white",
            "declare the range that the values have (value_range)",
        )
    elif float((values < low + (high - low) * _DARK).mean()) > 0.99:
        tell(
            "use less than a sixth of the declared range",
            path,
            f"holds values of {span}, of which 99% lie in the lowest sixth of the declared range, and comes out nearly "
            "black",
            "declare the range that the values have (value_range)",
        )
