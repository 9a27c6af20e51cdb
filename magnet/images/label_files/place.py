"""Where on earth pixels lie, how large they are, and the area of one."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.extras import need
from magnet.images.rasters.ground import ground_sides, unit_metres
from magnet.images.rasters.raster import Place, Resolution, Sides, Transform
from magnet.images.rasters.where import IDENTITY

__all__ = ["PixelArea", "crs_of", "pixel_area"]

_ALIKE = 1.05  # of the areas of pixels
_LOG = logging.getLogger("magnet")


class PixelArea(NamedTuple):
    """What a pixel covers: ``value`` in ``unit`` "m2" or "um2"; 1 and "pixels" where its size is not known."""

    value: float
    unit: str


def crs_of(place: Place) -> object | None:
    """The ``rasterio.crs.CRS`` of a place, if it has one.

    Raises:
        MagNetError: rasterio is not installed.
        ValueError: the CRS is no WKT.
    """
    if place.crs is None:
        return None
    crs = need("rasterio.crs", "geo")
    try:
        return crs.CRS.from_wkt(place.crs)  # type: ignore[no-any-return]
    except need("rasterio.errors", "geo").CRSError as error:
        raise ValueError(
            f"place: expected a CRS as WKT, got {place.crs[:60]!r} ({error}); rewrite the CRS of the raster"
        ) from error


def pixel_area(
    place: Place | None = None, resolution: Resolution | Sides | None = None, size: Size | None = None
) -> PixelArea:
    """The area of a pixel: by the transform where the CRS measures in units of length; without a CRS by the resolution.

    A degree is no fixed length, and Mercator's and other cylindrical projections stretch areas by the latitude (2.6
    times at 52 degrees). There the area is that on the ground in the middle of the raster. Where pixels at the top or
    the bottom differ from it too much (largest and smallest by 5%), or ``size`` (H, W) is not known, areas are counted
    in pixels, with a warning. Other projections are taken to be used where they are meant to be.

    Raises:
        MagNetError: there is a CRS, and rasterio is not installed.
        ValueError: a resolution of another unit, or not above 0.
    """
    if place is not None and place.transform == IDENTITY:  # a CRS alone, which says nothing of pixels
        place = None
    crs: object | None = crs_of(place) if place is not None else None
    if place is not None and crs is not None and (metres := unit_metres(crs)):
        a, b, _, d, e, _ = place.transform
        return PixelArea(abs(a * e - b * d) * metres**2, "m2")
    if place is not None and crs is not None:
        areas = _ground_areas(crs, place.transform, size) if size is not None else [0.0]
        if 0 < max(areas) <= _ALIKE * min(areas):
            return PixelArea(areas[len(areas) // 2], "m2")
        if size is not None and not max(areas):
            _LOG.warning(
                "area: the coordinate reference system does not say where on earth its pixels lie, so that they are "
                "counted; give the raster a geographic or projected one for square metres"
            )
            return PixelArea(1.0, "pixels")
        _LOG.warning(
            "area: the coordinate reference system does not keep areas, and pixels differ from top to bottom, so that "
            "they are counted; reproject the raster to an equal-area one or to UTM for square metres"
        )
        return PixelArea(1.0, "pixels")
    if resolution is not None:
        height, width, unit = resolution.sides
        if unit not in ("um", "m") or not (height > 0 and width > 0):
            raise ValueError(
                f"resolution: expected above 0 um or m, got {height} x {width} {unit} (height x width); convert it"
            )
        return PixelArea(height * width, f"{unit}2")
    return PixelArea(1.0, "pixels")


def _ground_areas(crs: object, transform: Transform, size: Size) -> list[float]:
    """Square metres on the ground of pixels at the top, in the middle and at the bottom; 0 where that is not known."""
    found = ground_sides(crs, transform, size[1] / 2, [0, (size[0] - 1) / 2, size[0] - 1])
    if found is None:
        return [0.0]
    east, north = found
    return np.abs(east[0] * north[1] - east[1] * north[0]).tolist()  # type: ignore[no-any-return]
