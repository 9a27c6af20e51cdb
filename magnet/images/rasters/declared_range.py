"""Telling of values that do not fit the range that is declared for them."""

from __future__ import annotations

import os

import numpy as np

from magnet.images.rasters.channels import Channels, ToTensor, coarsest_values
from magnet.images.rasters.raster import Raster
from magnet.notices import tell

__all__ = ["tell_range", "tell_range_of_whole"]

_SAMPLE = 1 << 20  # pixels whose values are compared with the range
_WINDOWS = 8  # of a raster without levels, along each side: each costs a tile
_OUTSIDE = 0.1  # share of the values; percentiles leave out 0.04
_DARK = 1 / 6  # of the range, as in magnet.images.read


def tell_range(raster: Raster, channels: Channels, convert: ToTensor) -> None:
    """Tell of a raster that is seen in fields, and whose values at its coarsest level do not fit the declared range.

    Args:
        raster: opened.
        channels: which range is declared; where none is, nothing is read.
        convert: of the raster, by ``channels``.

    Raises:
        MagNetError: the file is damaged, or cannot be read.
    """
    if isinstance(channels.value_range, tuple):
        _tell(raster.name, convert, coarsest_values(raster, convert.index, most=_SAMPLE, windows=_WINDOWS))


def tell_range_of_whole(
    path: str | os.PathLike[str], channels: Channels, convert: ToTensor, pixels: np.ndarray, valid: np.ndarray
) -> None:
    """Tell of an image that is seen as a whole, and whose values do not fit the declared range.

    Args:
        path: of the image.
        channels: which range is declared, if any is.
        convert: of the image, by ``channels``.
        pixels: (h, w, channels) of the file.
        valid: (h, w) bool, False where there is no value.
    """
    if isinstance(channels.value_range, tuple):
        step = max(1, round((valid.size / _SAMPLE) ** 0.5))
        _tell(path, convert, pixels[::step, ::step][valid[::step, ::step]][:, list(convert.index)])


def _tell(path: str | os.PathLike[str], convert: ToTensor, values: np.ndarray) -> None:
    """Tell of (n, channels of the network) values that are not in the declared range, or fill little of it."""
    if not values.size:
        return
    assert convert.ranges is not None
    values = values.astype(np.float64)
    low, high = (np.array(ends) for ends in zip(*convert.ranges, strict=True))
    span = f"{values.min():g} to {values.max():g}"
    outside = float(((values < low) | (values > high)).mean())
    if outside > _OUTSIDE:
        tell(
            "hold many values outside of the declared range",
            path,
            f"holds values of {span}, of which {100 * outside:.0f}% lie outside of the declared range and come out "
            "black or white",
            "declare the range that the values have (value_range)",
        )
    elif float((values < low + (high - low) * _DARK).mean()) > 0.99:
        tell(
            "use less than a sixth of the declared range",
            path,
            f"holds values of {span}, of which 99% lie in the lowest sixth of the declared range, and comes out nearly "
            "black",
            "declare the range that the values have (value_range)",
        )
