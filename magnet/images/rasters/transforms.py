"""Affine transforms (a, b, c, d, e, f): (x, y) -> (a x + b y + c, d x + e y + f)."""

from __future__ import annotations

from magnet.errors import MagNetError
from magnet.images.rasters.raster import Transform

__all__ = ["combined", "inverse"]


def inverse(transform: Transform) -> Transform:
    """The transform back.

    Raises:
        MagNetError: there is none, as all lies on a line.
    """
    a, b, c, d, e, f = transform
    area = a * e - b * d
    if not area:
        raise MagNetError(f"place: expected pixels with an area, got the transform {transform}; mend that of the file")
    return e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area


def combined(second: Transform, first: Transform) -> Transform:
    """``first``, and then ``second``."""
    a, b, c, d, e, f = second
    g, h, i, j, k, m = first
    return a * g + b * j, a * h + b * k, a * i + b * m + c, d * g + e * j, d * h + e * k, d * i + e * m + f
