"""Which images are scenes, resized whole, and which are ground, seen field by field at their own pixels."""

from __future__ import annotations

import os
from pathlib import Path

from magnet.bounds import Size
from magnet.images.opening import failures
from magnet.images.rasters.ome import ome_sides
from magnet.images.rasters.open import JP2_MAGIC, open_placed
from magnet.images.rasters.pages import choose_page, read_pages
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.resolution import as_resolution, ratio_of
from magnet.images.rasters.sidecars import world_file_path
from magnet.images.rasters.slides import is_slide
from magnet.images.tiff import TIFF_MAGIC

__all__ = ["field_size", "is_ground"]


def field_size(raster: Raster, scale: Size, resolution: str | None) -> Size:
    """(H, W) of a field in pixels of a raster.

    Args:
        raster: which the field is cut from.
        scale: (H, W) of the last scale.
        resolution: the side of its pixels, as "0.5m"; None: that of the raster's.

    Raises:
        MagNetError: the resolution of the raster is not known, or far from that.
    """
    if resolution is None:
        return scale
    rows, columns = ratio_of(as_resolution(resolution), raster)
    return max(round(scale[0] * rows), 1), max(round(scale[1] * columns), 1)


def is_ground(path: str | os.PathLike[str], extent: str | None, scale: Size, resolution: str | None = None) -> bool:
    """Whether an image is seen field by field: see ``DataConfig.extent``.

    Args:
        path: the image.
        extent: of all images, "scene" or "ground"; None: it depends on the image.
        scale: (H, W) of the last scale.
        resolution: as of :func:`field_size`.

    Raises:
        MagNetError: it may be, and cannot be opened.
    """
    if extent is not None:
        return extent == "ground"
    if not _may_be(Path(path), None if resolution else scale):
        return False
    opened = open_placed(path)
    if opened is None:
        return False
    with opened as raster:
        return _exceeds(raster.size, field_size(raster, scale, resolution if raster.sides else None))


def _may_be(path: Path, scale: Size | None) -> bool:
    """Whether it may have a place or a resolution and be larger than ``scale``, by the head of the file."""
    with failures(path), path.open("rb") as file:
        start = file.read(12)
    if not start.startswith(TIFF_MAGIC):
        return start.startswith(JP2_MAGIC) or is_slide(path, None) or world_file_path(path) is not None
    with failures(path):
        pages = read_pages(path)
        main = choose_page(pages, None, str(path))
    if scale is not None and not _exceeds(main.head.size, scale):
        return False
    if main.geo or world_file_path(path) is not None or is_slide(path, pages[0].description):
        return True
    return ome_sides(pages, main) is not None


def _exceeds(size: Size, field: Size) -> bool:
    return size[0] > field[0] or size[1] > field[1]
