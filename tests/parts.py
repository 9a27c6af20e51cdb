"""Tests shared out among processes that run side by side: always in the same way, whatever other tests there are."""

from __future__ import annotations

import zlib

import pytest

__all__ = ["number", "of"]


def of(config: pytest.Config, option: str) -> tuple[int, int]:
    """The part and how many there are, of an option I/N.

    Raises:
        pytest.UsageError: it is not of this form.
    """
    given = config.getoption(option)
    try:
        part, parts = map(int, given.split("/"))
    except ValueError:
        part = parts = 0
    if not 1 <= part <= parts:
        raise pytest.UsageError(f"{option}: expected I/N with 1 <= I <= N, as in 1/2, got {given!r}")
    return part, parts


def number(name: str) -> int:
    """What a name is shared out by."""
    return zlib.crc32(name.encode())
