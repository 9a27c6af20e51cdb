"""TIFF, BigTIFF, GeoTIFF, COG and JPEG 2000: which pages and which files beside them make a raster."""

from __future__ import annotations

import os
from pathlib import Path

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.extras import needed
from magnet.images.opening import CorruptImageError, failures, unreadable
from magnet.images.rasters.gdal import Handles, Source, named_errors
from magnet.images.rasters.geo import GeoRaster
from magnet.images.rasters.pages import TiffPage, choose_page, is_smaller, levels_of, read_pages, same_kind
from magnet.images.rasters.sidecars import companion
from magnet.images.tiff import DAMAGE, TiffHead
from magnet.notices import tell

__all__ = ["open_jp2", "open_tiff"]


def _absolute(path: str | os.PathLike[str]) -> Path:
    absolute = Path(os.path.abspath(os.fspath(path)))
    if str(absolute).startswith("/vsi"):
        raise MagNetError(
            f"image: expected a file whose path does not begin with /vsi, by which GDAL opens what is no file, "
            f"got '{path}'; move the file"
        )
    return absolute


def open_tiff(
    path: str | os.PathLike[str], pages: list[TiffPage], page: int | None, *, indexed: bool = False
) -> GeoRaster:
    """A TIFF.

    Args:
        pages: of the file, see :func:`magnet.images.rasters.pages.read_pages`.
        page: the number of the one that is meant; None: the largest.
        indexed: leave a palette image the numbers of its entries instead of their colours.

    Raises:
        CorruptImageError: it is damaged, or its pixels have no known meaning.
        MagNetError: several pages may be meant, or rasterio is not installed.
    """
    with needed("geo", f"the TIFF '{path}'"):
        import rasterio  # noqa: F401
    absolute = _absolute(path)
    main = choose_page(pages, page, os.fspath(path))
    levels = levels_of(pages, main)
    if page is None:
        _tell_others(pages, main, levels, path)
    first = main.offset == pages[0].offset
    # GDAL finds the mask of the first page alone, and of its overviews; other pages are opened by their offsets
    masked = any(one.mask for one in pages)
    if masked and not first:
        raise CorruptImageError(
            f"image: expected masks only of the first page, but '{path}' has some and page {main.number} is the one "
            "that is meant; save it as a file of its own"
        )
    sources = [Source(str(absolute) if first else f"GTIFF_DIR:off:{main.offset}:{absolute}")]
    if masked:
        sources += [Source(str(absolute), i) for i in range(_overviews(absolute, "GTiff"))]
    else:
        sources += [Source(f"GTIFF_DIR:off:{one.offset}:{absolute}") for one in levels]
    masks = None
    if first:
        sources += _beside(absolute, ".ovr", main.head)
        masks = _masks(absolute)
    return GeoRaster(absolute, sources, main.head, masks, indexed)


def open_jp2(path: str | os.PathLike[str], *, indexed: bool = False) -> GeoRaster:
    """A JPEG 2000 file; its resolutions are levels. ``indexed`` as of :func:`open_tiff`.

    Raises:
        CorruptImageError, MagNetError: as :func:`open_tiff`.
    """
    with needed("geo", f"the JPEG 2000 file '{path}'"):
        import rasterio  # noqa: F401
    absolute = _absolute(path)
    driver = "JP2OpenJPEG"
    levels = [Source(str(absolute), i, driver) for i in range(_overviews(absolute, driver))]
    return GeoRaster(absolute, [Source(str(absolute), None, driver), *levels], None, indexed=indexed)


def _overviews(path: Path, driver: str) -> int:
    handles = Handles()
    try:
        with named_errors(path), handles.lent(Source(str(path), None, driver)) as file:
            return len(file.overviews(1))
    finally:
        handles.close()


def _beside(path: Path, suffix: str, head: TiffHead) -> list[Source]:
    """The pages of a file beside it that are less detailed."""
    other = companion(path, suffix)
    if other is None:
        return []
    return [
        Source(f"GTIFF_DIR:off:{one.offset}:{other}")
        for one in _pages_of(other)
        if not one.mask and same_kind(one.head, head) and is_smaller(one.head.size, head.size)
    ]


def _masks(path: Path) -> dict[Size, Source] | None:
    """The masks beside a file, by their sizes; None: there are none."""
    masks: dict[Size, Source] = {}
    for suffix in (".msk", ".msk.ovr"):
        other = companion(path, suffix)
        for one in _pages_of(other) if other else ():
            masks.setdefault(one.head.size, Source(f"GTIFF_DIR:off:{one.offset}:{other}"))
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
