"""How large the pixels of a raster are on the ground."""

from __future__ import annotations

import math
import re
from typing import Any

from magnet.errors import MagNetError, shown
from magnet.images.rasters.raster import Raster, Resolution, Sides

__all__ = ["as_resolution", "degree_lengths", "pixel_sides", "ratio_of", "resolution_text"]

_EQUATOR, _FLATTENING = 6378137.0, 1 / 298.257223563  # of WGS84


def degree_lengths(latitude: float) -> tuple[float, float]:
    """Metres that a degree of latitude and one of longitude span at a latitude in degrees."""
    squared = _FLATTENING * (2 - _FLATTENING)
    sine = math.sin(math.radians(latitude))
    curved = 1 - squared * sine * sine
    north = _EQUATOR * (1 - squared) / curved**1.5
    east = _EQUATOR / math.sqrt(curved) * math.cos(math.radians(latitude))
    return math.radians(north), math.radians(east)


def pixel_sides(height: float, width: float, unit: str) -> Sides | None:
    """Pixels of ``height`` and ``width``; None where one of them is no length."""
    return Sides(height, width, unit) if 0 < height < math.inf and 0 < width < math.inf else None


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


def ratio_of(wanted: Resolution, raster: Raster) -> tuple[float, float]:
    """How many pixels of a raster, along rows and columns, one of ``wanted`` spans.

    The two differ where the raster's pixels are not square, as those of maps in degrees are.

    Raises:
        MagNetError: the raster's resolution is not known, or it is not the same thing: more than a factor of 64.
    """
    if raster.sides is None:
        raise MagNetError(
            "resolution: expected a raster whose pixels have a known size to bring it to "
            f"{wanted.value:g} {wanted.unit} a pixel, but that of '{raster.name}' is not known; leave the resolution "
            "out, or give the file one"
        )
    height, width, unit = raster.sides
    if raster.resolution is not None:
        height = width = raster.resolution.value
    metres = {"m": 1.0, "um": 1e-6}
    rows, columns = (wanted.value * metres[wanted.unit] / (side * metres[unit]) for side in (height, width))
    if not (min(rows, columns) >= 1 / 64 and max(rows, columns) <= 64):
        has = f"{height:g}" if height == width else f"{width:g} x {height:g} (width x height)"
        raise MagNetError(
            f"resolution: expected pixels of up to 64 times the size or a 64th, but '{raster.name}' has {has} "
            f"{unit} a pixel and the model {wanted.value:g} {wanted.unit}; check the units"
        )
    return rows, columns
