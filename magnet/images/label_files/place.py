"""Where on earth pixels lie, how large they are, and the area of one."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from magnet.extras import need
from magnet.images.rasters.raster import Place, Resolution

__all__ = ["PixelArea", "crs_of", "pixel_area"]

# names of projections: those whose areas grow with the latitude, and those that only sound like them
_STRETCHING = re.compile("Mercator|Cylindrical|Plate Carr", re.IGNORECASE)
_KEEPING = re.compile("Transverse|Oblique|Equal Area", re.IGNORECASE)
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


def pixel_area(place: Place | None = None, resolution: Resolution | None = None) -> PixelArea:
    """The area of a pixel: by the transform where the CRS measures in units of length, else by the resolution.

    A degree is no fixed length, and Mercator's and other cylindrical projections stretch areas by the latitude (2.6
    times at 52 degrees); there the resolution counts, and where that is not known either, areas are counted in pixels,
    with a warning. Other projections are taken to be used where they are meant to be.

    Raises:
        MagNetError: there is a CRS, and rasterio is not installed.
        ValueError: a resolution of another unit, or not above 0.
    """
    crs: object | None = crs_of(place) if place is not None else None
    if place is not None and crs is not None and (metres := _metres(crs)):
        a, b, _, d, e, _ = place.transform
        return PixelArea(abs(a * e - b * d) * metres**2, "m2")
    if resolution is not None:
        if resolution.unit not in ("um", "m") or not resolution.value > 0:
            raise ValueError(
                f"resolution: expected above 0 um or m, got {resolution.value} {resolution.unit}; convert it"
            )
        return PixelArea(resolution.value**2, f"{resolution.unit}2")
    if crs is not None:
        _LOG.warning(
            "area: the coordinate reference system does not keep areas, so they are counted in pixels; reproject the "
            "raster to an equal-area one or to UTM for square metres"
        )
    return PixelArea(1.0, "pixels")


def _metres(crs: object) -> float:
    """Metres of a unit of the CRS; 0 where that says nothing about areas."""
    if not crs.is_projected:  # type: ignore[attr-defined]
        return 0.0
    described = crs.to_dict(projjson=True)  # type: ignore[attr-defined]
    while "conversion" not in described and ("components" in described or "source_crs" in described):
        described = described["components"][0] if "components" in described else described["source_crs"]
    method = str(described.get("conversion", {}).get("method", {}).get("name", ""))
    if _STRETCHING.search(method) and not _KEEPING.search(method):
        return 0.0
    return float(crs.linear_units_factor[1])  # type: ignore[attr-defined]
