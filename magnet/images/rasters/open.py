"""One way to open any raster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from magnet.checks import as_number, is_int
from magnet.errors import MagNetError, shown
from magnet.images.opening import check_file, failures, unreadable
from magnet.images.rasters.arrays import ArrayRaster, open_npy
from magnet.images.rasters.geo import GeoRaster
from magnet.images.rasters.ome import ome_sides
from magnet.images.rasters.pages import TiffPage, choose_page, levels_of, read_pages
from magnet.images.rasters.pictures import PictureRaster
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.sidecars import world_file
from magnet.images.rasters.slides import SlideRaster, is_slide
from magnet.images.rasters.tiffs import open_jp2, open_tiff
from magnet.images.rasters.zarrs import is_zarr_folder, is_zarr_object, open_zarr
from magnet.images.tiff import DAMAGE, TIFF_MAGIC, read_head
from magnet.notices import gathered, tell_again

__all__ = ["JP2_MAGIC", "check_page", "open_placed", "open_raster", "open_stored", "page_number"]

_NPY = b"\x93NUMPY"
JP2_MAGIC = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")


def open_raster(source: Any, *, page: int | None = None) -> Raster:
    """Open an image of any kind and size, to be read by window.

    Args:
        source: a path of an image that Pillow reads, of a TIFF, GeoTIFF, COG or JPEG 2000 file, of a whole slide, of
            a .npy file, or of a zarr array or OME-Zarr image; or an (H, W) or (H, W, C) array of NumPy or zarr, or a
            zarr group that is an OME-Zarr image.
        page: the number of a page of a TIFF, from 0; None: the largest, where it is the only one of its size, or the
            slide as a whole.

    Returns:
        A :class:`~magnet.images.rasters.raster.Raster`, to be used in a ``with`` statement, or closed.

    Raises:
        CorruptImageError: the file is damaged, no image, or has pixels without a known meaning.
        MagNetError: it does not exist or may not be read, several pages may be meant, or a package is missing. A
            CorruptImageError is one, too.
        TypeError, ValueError: ``source`` is of another kind, or an array of another shape or type.
    """
    page = page_number(page)
    if isinstance(source, np.ndarray):
        _no_page(page, "an array")
        return ArrayRaster(source)
    if is_zarr_object(source):
        _no_page(page, "a zarr array")
        return open_zarr(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source: expected a path or an array of NumPy or zarr, got {type(source).__name__}; "
            "convert it, as with np.asarray"
        )
    path = Path(source)
    if is_zarr_folder(path):
        _no_page(page, f"'{path}'")
        return open_zarr(path)
    check_file(path)
    with failures(path), path.open("rb") as file:
        start = file.read(12)
    if start.startswith(TIFF_MAGIC):
        raster = _open_tiff(path, page)
        raster.page = page
        return raster
    _no_page(page, f"'{path}'")
    if is_slide(path, None):  # an MRXS begins as a JPEG does
        return SlideRaster(path)
    if start.startswith(_NPY):
        return open_npy(path)
    if start.startswith(JP2_MAGIC):
        return open_jp2(path)
    return PictureRaster(path)


def open_placed(path: str | os.PathLike[str], *, page: int | None = None) -> Raster | None:
    """:func:`open_raster` of a file that has a place on earth or a pixel size; None: it has none, and is a scene.

    What there is to tell of the file is told, but where it is read as a scene, which would be of another page.
    """
    with gathered() as notices:
        raster = open_raster(path, page=page)
    is_placed = raster.place is not None or raster.sides is not None
    if not is_placed:
        raster.close()
        with failures(path):
            head = read_head(path, page)
        if head is not None and head.larger:
            return None
    tell_again(notices)
    return raster if is_placed else None


def check_page(path: str | os.PathLike[str], page: Any) -> int | None:
    """The number of a page that a file has, as an int; None stays None.

    Raises:
        CorruptImageError: the file is damaged.
        MagNetError: there is no such file, or no page of that number.
        TypeError, ValueError: it is no number; or the file is no TIFF and has no pages.
    """
    page = page_number(page)
    if page is None:
        return None
    check_file(path)
    with failures(path), open(path, "rb") as file:
        start = file.read(4)
    if not start.startswith(TIFF_MAGIC):
        _no_page(page, f"'{path}'")
    choose_page(_pages(Path(path)), page, str(path))
    return page


def open_stored(path: str | os.PathLike[str]) -> GeoRaster | None:
    """A TIFF or JPEG 2000 file whose samples are read as they are stored, rows and palette entries included, as those
    of labels are; None: a file of another kind.

    Raises:
        CorruptImageError, MagNetError: as :func:`open_raster`.
    """
    path = Path(path)
    check_file(path)
    with failures(path), path.open("rb") as file:
        start = file.read(12)
    if start.startswith(TIFF_MAGIC):
        return open_tiff(path, _pages(path), None, indexed=True)
    return open_jp2(path, indexed=True) if start.startswith(JP2_MAGIC) else None


def _pages(path: Path) -> list[TiffPage]:
    with failures(path):
        try:
            return read_pages(path)
        except DAMAGE as error:
            raise unreadable(path, error) from error


def page_number(page: Any) -> int | None:
    """The number of a page as an int; None stays None. Raises TypeError: it is no number."""
    page = as_number(page)
    if page is not None and not is_int(page):
        raise TypeError(f"page: expected an int or None, got {shown(page)}; give the number of a page, from 0")
    return None if page is None else int(page)


class NoPagesError(MagNetError, ValueError):
    """A page of what has none: a wrong value for one image, and of several images a fault of that one alone."""


def _no_page(page: int | None, what: str) -> None:
    if page is not None:
        raise NoPagesError(f"page: expected None, as {what} is no TIFF and has no pages, got {page}; leave it out")


def _open_tiff(path: Path, page: int | None) -> Raster:
    pages = _pages(path)
    if page is None and is_slide(path, pages[0].description):
        return SlideRaster(path)
    main = choose_page(pages, page, str(path))
    raster = _open_page(path, pages, main, page)
    if raster.place is None and raster.sides is None:
        raster.sides = ome_sides(pages, main)
    return raster


def _open_page(path: Path, pages: list[TiffPage], main: TiffPage, page: int | None) -> Raster:
    if _for_pillow(pages, main):
        return PictureRaster(path, page=page)
    try:
        return open_tiff(path, pages, page)
    except MagNetError as error:
        if isinstance(error.__cause__, ImportError) and _is_plain(pages, main) and world_file(path) is None:
            return PictureRaster(path, page=page)
        raise


def _for_pillow(pages: list[TiffPage], main: TiffPage) -> bool:
    """Whether a TIFF has colours or rows that are converted by the rules of pictures: CMYK and others, and turned."""
    turned = main.head.turned != 1 and not main.geo  # a place is that of the rows as stored
    jpeg = main.head.compression in (6, 7)
    colours = main.head.meaning in ("CMYK", "Lab") or (main.head.meaning == "YCbCr" and not jpeg)
    return main is pages[0] and (turned or colours)


def _is_plain(pages: list[TiffPage], main: TiffPage) -> bool:
    """Whether Pillow reads all that there is to it."""
    return main is pages[0] and not main.geo and not levels_of(pages, main) and not any(one.mask for one in pages)
