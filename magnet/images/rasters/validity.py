"""Where a whole image holds a value: what is nodata, fully transparent, masked or not in the file does not."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.large import fitting_size, past_limit
from magnet.images.opening import LargeImageError, failures
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.pages import choose_page, read_pages
from magnet.images.rasters.read_input import InputImage, open_turned, read_input
from magnet.images.rasters.sidecars import companion
from magnet.images.read import read_opaque
from magnet.images.tiff import DAMAGE, TIFF_MAGIC
from magnet.notices import tell

__all__ = ["read_with_validity"]


def read_with_validity(
    path: str | os.PathLike[str],
    inputs: InputSettings,
    *,
    upright: bool = True,
    fitting: Callable[[Size], Size] = fitting_size,
    page: int | None = None,
) -> InputImage:
    """:func:`read_input`, ``valid`` of 8-bit RGB, too: the same as of a raster that is read by window.

    Where it cannot be known, as rasterio is missing or a mask is damaged, that is told, and all pixels count. Pictures
    past Pillow's size limit that are no TIFF are not asked.

    Arguments and errors are those of :func:`read_input`; ``valid`` is None where all pixels hold a value.
    """
    found = read_input(path, inputs, upright=upright, fitting=fitting, page=page)
    if found.valid is None:
        try:
            found = found._replace(valid=_validity(path, found, upright, page))
        except MagNetError as error:  # its pixels were read
            tell(
                "may hold pixels without a value, which are taken as all others",
                path,
                f"may hold pixels without a value, which are taken as all others ({error})",
                "mend the file, or install what reads it",
            )
    return found._replace(valid=None) if found.valid is not None and found.valid.all() else found


def _validity(path: str | os.PathLike[str], found: InputImage, upright: bool, page: int | None) -> np.ndarray | None:
    """(h, w) bool, where a file holds a value, which is decoded again for that; None: it says that all pixels do."""
    with failures(path), open(path, "rb") as file:
        start = file.read(4)
    if not start.startswith(TIFF_MAGIC):
        try:
            return read_opaque(path, upright=upright)
        except LargeImageError:
            return None
    if not _may_lack_values(path, page):
        return None
    with open_turned(path, upright=upright, page=page) as raster:
        if not raster.may_be_invalid:
            return None
        height, width = raster.size
        box = (0, 0, width, height)
        whole = not past_limit(raster.size)
        return (raster.read_level(0, box) if whole else raster.read(box, found.pixels.shape[:2]))[1]


def _may_lack_values(path: str | os.PathLike[str], page: int | None) -> bool:
    """Whether a TIFF, or a page of it, has nodata, alpha or a mask."""
    try:
        pages = read_pages(path)
    except DAMAGE:  # of other pages than the one that was read
        return False
    head = choose_page(pages, page or 0, os.fspath(path)).head
    return head.nodata or head.alpha or any(one.mask for one in pages) or companion(path, ".msk") is not None
