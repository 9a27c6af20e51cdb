"""How large the pixels of a raster are on the ground."""

from __future__ import annotations

import math

from magnet.images.rasters.raster import Resolution
from magnet.notices import tell

__all__ = ["degree_lengths", "square"]

_EQUATOR, _FLATTENING = 6378137.0, 1 / 298.257223563  # of WGS84
_SQUARE = 0.01  # how much longer than wide a square may be


def degree_lengths(latitude: float) -> tuple[float, float]:
    """Metres that a degree of latitude and one of longitude span at a latitude in degrees."""
    squared = _FLATTENING * (2 - _FLATTENING)
    sine = math.sin(math.radians(latitude))
    curved = 1 - squared * sine * sine
    north = _EQUATOR * (1 - squared) / curved**1.5
    east = _EQUATOR / math.sqrt(curved) * math.cos(math.radians(latitude))
    return math.radians(north), math.radians(east)


def square(height: float, width: float, unit: str, name: str) -> Resolution | None:
    """Pixels of ``height`` and ``width``, where both are one length to a hundredth: their geometric mean."""
    if not (0 < height < math.inf and 0 < width < math.inf):
        return None
    if max(height, width) > (1 + _SQUARE) * min(height, width):
        tell(
            "have pixels that are not square, whose resolution is not used",
            name,
            f"has pixels of {width:.6g} x {height:.6g} {unit} (width x height), which are not square, so that its "
            "resolution is not used",
            "resample it to square pixels",
        )
        return None
    return Resolution(math.sqrt(height * width), unit)
