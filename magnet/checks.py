"""Checks of single values, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magnet.bounds import MAX_CHANNELS, MAX_MODEL_PIXELS, Size
from magnet.errors import shown
from magnet_kernels._checks import check_kernel_size as check_kernel_size

__all__ = ["as_number", "check_channels", "check_count", "check_size", "is_int", "is_list"]


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def as_number(value: Any) -> Any:
    """numpy's numbers as Python's, which JSON can hold; anything else as it is."""
    return value.item() if isinstance(value, np.number) else value


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def check_size(name: str, value: Any, *, most: int | None = MAX_MODEL_PIXELS) -> Size:
    """Two positive ints (H, W), of at most so many pixels; None: any."""
    if not is_list(value) or len(value) != 2 or not all(is_int(as_number(v)) and v > 0 for v in value):
        raise ValueError(f"{name}: expected two positive ints (H, W), got {shown(value)}")
    height, width = (as_number(v) for v in value)
    if most is not None and height * width > most:
        raise ValueError(f"{name}: expected at most 2**{most.bit_length() - 1} pixels, got {shown((height, width))}")
    return height, width


def check_channels(value: Any) -> int:
    """A number of channels of images."""
    value = as_number(value)
    if not is_int(value) or not 1 <= value <= MAX_CHANNELS:
        raise ValueError(
            f"channels: expected an int of 1 to {MAX_CHANNELS}, got {shown(value)}; 3 are red, green and blue"
        )
    return value


def check_count(name: str, value: Any) -> int:
    """A positive int."""
    value = as_number(value)
    if not is_int(value) or value < 1:
        raise ValueError(f"{name}: expected a positive int, got {shown(value)}")
    return value
