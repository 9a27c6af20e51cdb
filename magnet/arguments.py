"""Parsing command lines: errors in one line, and the kinds of values that several commands take."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["Parser", "count", "kernel_size", "n_patches", "n_points"]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a wrong argument in one line, without the page of usage, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; see '{self.prog} --help'\n")


def count(text: str) -> int:
    """A whole number of 0 or more."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got '{text}'")
    return value


def n_points(text: str) -> int | float:
    """A count, or a fraction in (0, 1] with a decimal point."""
    try:
        value: int | float = float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError:
        value = -1
    if value < 0 or (isinstance(value, float) and not 0 < value <= 1):
        raise argparse.ArgumentTypeError(f"expected a count, or a fraction in (0, 1] as 0.5, got '{text}'")
    return value


def n_patches(text: str) -> int | list[int]:
    """One count, or one for each scale after the first, as 4,12,16."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"expected a count, or one for each later scale as 4,12,16, got '{text}'")
    return values[0] if len(values) == 1 else values


def kernel_size(text: str) -> int:
    """An odd number from 1 to 15."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 15 or value % 2 == 0:
        raise argparse.ArgumentTypeError(f"expected an odd number from 1 to 15 (1 = no median), got '{text}'")
    return value
