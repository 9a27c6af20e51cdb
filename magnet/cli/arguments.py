"""Parsing command lines: errors in one line, and the kinds of values that several commands take."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from magnet.bounds import DEVICES, MAX_INT, MAX_SCALE_PIXELS, MAX_SCENE_PIXELS, MIN_SCENE_SIDE, check_pixels
from magnet.errors import ArgumentError, printable

__all__ = [
    "AMP_HELP",
    "TRUST_HELP",
    "Parser",
    "add_walk_options",
    "check_scene_size",
    "count",
    "count_between",
    "device_name",
    "kernel_size",
    "n_patches",
    "n_points",
    "size",
    "walk_options",
    "wrong_values",
]

AMP_HELP = "networks in bfloat16 (bf16), on devices that compute in it (auto), where it is faster, or not (none)"

TRUST_HELP = (
    "let a model be built by code that is not this library's, which it names: it is imported and run, and could do "
    "anything"
)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a wrong argument in one line, without the page of usage, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(' '.join(message.split()), 2000)}; see '{self.prog} --help'\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but an empty value, as of a variable that is not set, is an error: a path of "" is here."""
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if "" in (value if isinstance(value, list) else [value]):
                name = action.option_strings[0] if action.option_strings else action.metavar or action.dest
                self.error(f"argument {name}: expected a value, got an empty one; is a variable of the shell not set?")
        return found, rest


def _whole(text: str) -> int:
    """A whole number of ASCII digits that an int64 holds; -1 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_INT else -1


def count(text: str) -> int:
    """A whole number of 0 or more."""
    value = _whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MAX_INT}, got '{text}'")
    return value


def count_between(least: int, most: int) -> Callable[[str], int]:
    """A kind of argument: a whole number from ``least`` to ``most``."""

    def bounded(text: str) -> int:
        value = _whole(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got '{text}'")
        return value

    return bounded


def device_name(text: str) -> str:
    """auto, cpu, cuda or cuda:N."""
    if not re.fullmatch(DEVICES, text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda or cuda:N, got '{text}'")
    return text


def n_points(text: str) -> int | float:
    """A count, or a fraction in (0, 1] with a decimal point."""
    try:
        value: int | float = float(text) if "." in text or "e" in text.lower() else _whole(text)
    except ValueError:
        value = -1
    if value < 0 or (isinstance(value, float) and not 0 < value <= 1):
        raise argparse.ArgumentTypeError(f"expected a count, or a fraction in (0, 1] as 0.5, got '{text}'")
    return value


def n_patches(text: str) -> int | list[int]:
    """One count, or one for each scale after the first, as 4,12,16."""
    values = [_whole(part) for part in text.split(",")]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"expected a count, or one for each later scale as 4,12,16, got '{text}'")
    return values[0] if len(values) == 1 else values


def kernel_size(text: str) -> int:
    """An odd number from 1 to 15."""
    value = _whole(text)
    if not 1 <= value <= 15 or value % 2 == 0:
        raise argparse.ArgumentTypeError(f"expected an odd number from 1 to 15 (1 = no median), got '{text}'")
    return value


def size(text: str) -> tuple[int, int]:
    """A size HxW as 128x256, of as many pixels as a scale may have."""
    height, _, width = text.partition("x")
    pair = _whole(height), _whole(width)
    if min(pair) < 1:
        raise argparse.ArgumentTypeError(f"expected a size HxW as 128x256, got '{text}'")
    try:
        return check_pixels(pair, MAX_SCALE_PIXELS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("size: ")) from error


def check_scene_size(parser: argparse.ArgumentParser, size: Sequence[int]) -> None:
    """``--size H W`` of scenes to draw; an error of the parser where it is too small or too large."""
    height, width = size
    if min(height, width) < MIN_SCENE_SIDE:
        parser.error(f"argument --size: expected at least {MIN_SCENE_SIDE} {MIN_SCENE_SIDE}, got {height} {width}")
    try:
        check_pixels((height, width), MAX_SCENE_PIXELS)
    except ValueError as error:
        parser.error(f"argument --{error}")


@contextlib.contextmanager
def wrong_values() -> Iterator[None]:
    """A setting that the model does not take is a wrong argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ArgumentError(error) from error


def add_walk_options(parser: argparse.ArgumentParser) -> None:
    """Options of the walk: for images that differ from those trained on, and how points are chosen."""
    from magnet.walk.points_by import CHOICES  # needs torch, which takes seconds to import
    from magnet.walk.settings import FLIPS

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
    parser.add_argument(
        "--flips",
        choices=tuple(FLIPS),
        help="average the segmenter's answers over mirrored images: left and right (horizontal), upside down, too "
        "(both) (default: the model's)",
    )


def walk_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of ``add_walk_options``, as arguments of MagNet."""
    names = ("follow_image", "match_colours", "points_by", "flips")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
