"""Where an image and its labels lie on earth: labels of another place are shifted, though they have the same size."""

from __future__ import annotations

import itertools

import numpy as np

from magnet.errors import MagNetError
from magnet.images.rasters.raster import Place, Raster, Transform
from magnet.notices import tell

__all__ = ["check_places"]

_MOST = 0.25  # of a pixel, that labels may be off: half a one is the slip of taking corners for centres


def check_places(image: Raster, labels: Raster) -> None:
    """Compare the places of an image and of its labels of the same size, where both files say them.

    A warning says that only the names of their coordinate reference systems differ.

    Raises:
        MagNetError: a corner of the labels lies more than a quarter of a pixel from that of the image.
    """
    if image.place is None or labels.place is None:
        return
    shift = _shift(image.place.transform, labels.place.transform, image.size)
    if shift > _MOST:
        raise MagNetError(
            f"data: expected labels that lie where their image does, but '{labels.name}' lies up to {shift:.6g} pixels "
            f"from '{image.name}' ({_shown(labels.place)} and {_shown(image.place)}); make them anew on the pixels of "
            "the image, or take the wrong place out of the file"
        )
    if _differ(image.place, labels.place):
        tell(
            "have labels of another coordinate reference system",
            labels.name,
            f"has another coordinate reference system than its image '{image.name}', and the same numbers of pixels "
            "and corners",
            "give both files that which is right",
        )


def _shift(one: Transform, other: Transform, size: tuple[int, int]) -> float:
    """The largest distance between corners of two rasters, in pixels of the first."""
    a, b, _, d, e, _ = one
    height, width = size
    difference = np.subtract(other, one)
    corners = itertools.product((0, width), (0, height))
    moved = [(difference[:3] @ (x, y, 1), difference[3:] @ (x, y, 1)) for x, y in corners]
    pixels = np.linalg.solve(np.array([(a, b), (d, e)]), np.array(moved).T)
    return float(np.hypot(*pixels).max())


def _differ(one: Place, other: Place) -> bool:
    if one.crs is None or other.crs is None or one.crs == other.crs:
        return False
    from rasterio.crs import CRS  # a raster that has one was read by it

    first, second = CRS.from_wkt(one.crs), CRS.from_wkt(other.crs)
    return bool(first != second and (first.to_epsg() is None or first.to_epsg() != second.to_epsg()))


def _shown(place: Place) -> str:
    return f"transform {tuple(float(f'{v:.8g}') for v in place.transform)}"
