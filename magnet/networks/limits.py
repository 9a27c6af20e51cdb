"""How large a network may be asked for: numbers come from files, and memory is taken for them at once."""

from __future__ import annotations

from typing import Any

from magnet.errors import shown

__all__ = ["MOST_CHANNELS", "MOST_CLASSES", "check_num_classes"]

MOST_CLASSES = 10_000
MOST_CHANNELS = 8192


def check_num_classes(value: Any) -> int:
    """A number of classes.

    Raises:
        ValueError: it is no positive int, or above ``MOST_CLASSES``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"num_classes: expected a positive int, got {shown(value)}")
    if value > MOST_CLASSES:
        raise ValueError(f"num_classes: expected at most {MOST_CLASSES}, got {shown(value)}")
    return value
