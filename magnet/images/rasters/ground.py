"""What the units of a coordinate reference system, a ``rasterio.crs.CRS``, are on the ground."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from magnet.extras import need
from magnet.images.rasters.raster import Transform
from magnet.images.rasters.resolution import degree_lengths

__all__ = ["ground_sides", "unit_metres"]

# names of projections: those whose lengths grow with the latitude, and those that only sound like them
_STRETCHING = re.compile("Mercator|Cylindrical|Plate Carr", re.IGNORECASE)
_KEEPING = re.compile("Transverse|Oblique|Equal Area", re.IGNORECASE)


def unit_metres(crs: Any) -> float:
    """Metres of a unit of the CRS; 0 where that says nothing about lengths on the ground."""
    if not crs.is_projected:
        return 0.0
    described = crs.to_dict(projjson=True)
    while "conversion" not in described and ("components" in described or "source_crs" in described):
        described = described["components"][0] if "components" in described else described["source_crs"]
    method = str(described.get("conversion", {}).get("method", {}).get("name", ""))
    if _STRETCHING.search(method) and not _KEEPING.search(method):
        return 0.0
    return float(crs.linear_units_factor[1])


def ground_sides(crs: Any, transform: Transform, x: float, ys: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | None:
    """Where the upper and the left side of some pixels lead to on the ground.

    Args:
        crs: a ``rasterio.crs.CRS``.
        transform: of pixel corners.
        x: the left side of the pixels.
        ys: their upper sides.

    Returns:
        (2, n) metres to the east, of both sides of each pixel, and (2, n) to the north; None where they lie nowhere.
    """
    warp, errors, err = (need(name, "geo") for name in ("rasterio.warp", "rasterio.errors", "rasterio._err"))
    a, b, c, d, e, f = transform
    # of each the upper left corner, and the ones right of it and below it
    columns = x + np.array([0, 1, 0])[:, None] + np.zeros(len(ys))
    rows = np.array([0, 0, 1])[:, None] + np.asarray(ys)
    corners = a * columns + b * rows + c, d * columns + e * rows + f
    try:
        found = warp.transform(crs, "OGC:CRS84", *(one.ravel().tolist() for one in corners))
    except (errors.RasterioError, err.CPLE_BaseError):  # of a local CRS, which lies nowhere on earth
        return None
    longitudes, latitudes = (np.array(one).reshape(3, -1) for one in found[:2])
    if not np.isfinite(latitudes).all() or np.abs(latitudes).max() > 90:
        return None
    north, east = np.array([degree_lengths(latitude) for latitude in latitudes[0]]).T
    degrees = (longitudes[1:] - longitudes[0] + 180) % 360 - 180
    return degrees * east, (latitudes[1:] - latitudes[0]) * north
