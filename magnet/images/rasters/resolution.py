"""How large the pixels of a raster are on the ground."""

from __future__ import annotations

import math
import re
from typing import Any

from magnet.errors import MagNetError, shown
from magnet.images.rasters.raster import Resolution
from magnet.notices import tell

__all__ = ["as_resolution", "degree_lengths", "ratio_of", "resolution_text", "square"]

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


def as_resolution(value: Any) -> Resolution:
    """A :class:`Resolution`, or a text such as "0.5m" or "0.25um", as one.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and (found := re.fullmatch(r"\s*([0-9.eE+-]+)\s*(um|m)\s*", value)):
        value = found.groups()
    try:
        side, unit = value
        if not isinstance(value, str) and unit in ("m", "um") and 0 < float(side) < math.inf:
            return Resolution(float(side), unit)
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"resolution: expected the side of a pixel as '0.5m' or '0.25um', got {shown(value)}; give its unit"
    )


def resolution_text(value: Resolution) -> str:
    """What :func:`as_resolution` reads as this resolution, as "0.5m"."""
    return f"{value.value!r}".removesuffix(".0") + value.unit


def ratio_of(wanted: Resolution, raster: Resolution | None, name: str) -> float:
    """How many pixels of a raster, along a side, one of ``wanted`` spans.

    Raises:
        MagNetError: the raster's resolution is not known, or it is not the same thing: more than a factor of 64.
    """
    if raster is None:
        raise MagNetError(
            "resolution: expected a raster whose pixels have a known size to bring it to "
            f"{wanted.value:g} {wanted.unit} a pixel, but that of '{name}' is not known; leave the resolution out, or "
            "give the file one"
        )
    metres = {"m": 1.0, "um": 1e-6}
    ratio = wanted.value * metres[wanted.unit] / (raster.value * metres[raster.unit])
    if not 1 / 64 <= ratio <= 64:
        raise MagNetError(
            f"resolution: expected pixels of up to 64 times the size or a 64th, but '{name}' has {raster.value:g} "
            f"{raster.unit} a pixel and the model {wanted.value:g} {wanted.unit}; check the units"
        )
    return ratio
