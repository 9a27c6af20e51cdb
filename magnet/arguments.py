"""Parsing command lines: errors in one line, and the kinds of values that several commands take."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from magnet.errors import printable

__all__ = [
    "Parser",
    "add_walk_options",
    "count",
    "kernel_size",
    "n_patches",
    "n_points",
    "size",
    "walk_options",
]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a wrong argument in one line, without the page of usage, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(' '.join(message.split()), 2000)}; see '{self.prog} --help'\n")


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


def size(text: str) -> tuple[int, int]:
    """A size HxW as 128x256."""
    height, _, width = text.partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a size HxW as 128x256, got '{text}'")
    return int(height), int(width)


def add_walk_options(parser: argparse.ArgumentParser) -> None:
    """Options of the walk: for images that differ from those trained on, and how points are chosen."""
    from magnet.choice import CHOICES  # needs torch, which takes seconds to import

    parser.add_argument(
        "--follow-image",
        action=argparse.BooleanOptionalAction,
        help="scales keep the image's aspect and end at its own size (default: the model's)",
    )
    parser.add_argument(
        "--match-colours",
        action=argparse.BooleanOptionalAction,
        help="first bring the image's colours to those of the training images (default: the model's)",
    )
    parser.add_argument(
        "--points-by",
        choices=CHOICES,
        help="how pixels to replace are chosen: score = unsure before and sure now, as the paper; uncertainty = unsure "
        "before; random (default: the model's)",
    )


def walk_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of ``add_walk_options``, as arguments of MagNet."""
    given = {"follow_image": args.follow_image, "match_colours": args.match_colours, "points_by": args.points_by}
    return {name: value for name, value in given.items() if value is not None}
