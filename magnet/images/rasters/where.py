"""Where a raster lies, and how large its pixels are there: by its own tags, or by the files beside it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.extras import needed
from magnet.images.opening import failures
from magnet.images.rasters.ground import ground_sides, unit_metres
from magnet.images.rasters.pages import read_pages
from magnet.images.rasters.raster import Place, Sides, Transform
from magnet.images.rasters.resolution import degree_lengths, pixel_sides
from magnet.images.rasters.sidecars import projection_file, tell_unread_place, world_file, world_file_path
from magnet.images.tiff import DAMAGE, TIFF_MAGIC

__all__ = ["IDENTITY", "crs_beside", "has_place", "place_and_sides", "place_beside"]

IDENTITY: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_PSEUDO_MERCATOR = 3857


def place_beside(path: str | os.PathLike[str], size: Size) -> tuple[Place | None, Sides | None]:
    """Of a picture: what its world file and its .prj say.

    Raises:
        MagNetError: one of these is damaged; rasterio, which knows what a .prj means, is not installed.
    """
    transform = world_file(path)
    if transform is None:
        tell_unread_place(path)
        return None, None
    with needed("geo", f"the world file beside '{path}'"):
        import rasterio  # noqa: F401
    return place_and_sides(transform, crs_beside(path), size)


def crs_beside(path: str | os.PathLike[str]) -> Any:
    """The ``rasterio.crs.CRS`` that the .prj beside an image says; None where there is none.

    Raises:
        MagNetError: it says none.
    """
    import rasterio.crs
    import rasterio.errors

    found = projection_file(path)
    if found is None:
        return None
    other, text = found
    try:
        return rasterio.crs.CRS.from_wkt(text, morph_from_esri_dialect=True)
    except rasterio.errors.CRSError as error:
        raise MagNetError(
            f"image: expected a coordinate reference system as WKT in '{other}', got another text ({error}); mend or "
            "remove it"
        ) from error


def place_and_sides(transform: Transform, crs: Any, size: Size) -> tuple[Place | None, Sides | None]:
    """What a transform of pixel corners and a ``rasterio.crs.CRS`` (or None) say of a raster of ``size`` (H, W)."""
    if crs is None or not crs.wkt:
        return (None if transform == IDENTITY else Place(None, transform)), None
    if transform == IDENTITY:
        return Place(crs.wkt, IDENTITY), None
    a, b, _, d, e, f = transform
    y = d * size[1] / 2 + e * size[0] / 2 + f  # of the centre
    if crs.is_geographic:
        north, east = degree_lengths(min(max(y, -90.0), 90.0))
    elif crs.is_projected and crs.to_epsg() == _PSEUDO_MERCATOR:  # whose metres are those of the equator
        north = east = float(crs.linear_units_factor[1]) / math.cosh(y / 6378137.0)
    elif crs.is_projected and (metres := unit_metres(crs)):
        north = east = metres
    else:
        sides = ground_sides(crs, transform, (size[1] - 1) / 2, [(size[0] - 1) / 2]) if crs.is_projected else None
        if sides is None:
            return Place(crs.wkt, transform), None
        width, height = np.hypot(*sides).ravel().tolist()
        return Place(crs.wkt, transform), pixel_sides(height, width, "m")
    height, width = math.hypot(b * east, e * north), math.hypot(a * east, d * north)
    return Place(crs.wkt, transform), pixel_sides(height, width, "m")


def has_place(path: str | os.PathLike[str]) -> bool:
    """Whether a TIFF says where it lies, or a world file beside an image; False for those that are damaged, too.

    Warns where an .aux.xml does instead, which is not read.
    """
    if world_file_path(path) is not None:
        return True
    try:
        with failures(path), open(path, "rb") as file:
            is_tiff = file.read(4).startswith(TIFF_MAGIC)
        found = is_tiff and any(page.geo for page in read_pages(path))
    except DAMAGE:
        return False
    if not found:
        tell_unread_place(path)
    return found
