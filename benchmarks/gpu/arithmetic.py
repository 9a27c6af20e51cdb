"""Plain arithmetic: bytes that any implementation must move, the time that takes, and percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = tuple[int, int, int, int]
SCORE, INDEX = 4, 8  # bytes of a score and of a point


def percentile(values: Sequence[float], p: float) -> float:
    """The ``p``-th percentile, linear between neighbours."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * p / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True)
class Times:
    """Seconds of many rounds, summed up."""

    median: float
    p20: float
    p80: float
    rounds: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        return cls(percentile(seconds, 50), percentile(seconds, 20), percentile(seconds, 80), len(seconds))


def rounds_for(one: float, budget: float, least: int, most: int) -> int:
    """How many rounds of ``one`` second each to run in ``budget`` seconds; a single one where even that is too long."""
    least = 1 if one > 3 * budget else least
    return max(least, min(most, int(budget / max(one, 1e-9))))


def fraction_of_floor(bytes_moved: int, bandwidth: float, seconds: float) -> float:
    """The least time that ``bytes_moved`` need at ``bandwidth`` bytes a second, over the time that was needed."""
    return bytes_moved / bandwidth / seconds


def map_bytes(shape: Shape, item: int) -> int:
    return prod(shape) * item


def pixels(shape: Shape) -> int:
    return shape[0] * shape[2] * shape[3]


# Inputs are read once and outputs written once, whatever the implementation; what a cache could keep is free.


def confidence_bytes(shape: Shape, item: int) -> int:
    return map_bytes(shape, item) + pixels(shape) * SCORE


def score_bytes(shape: Shape, item: int) -> int:
    return 2 * map_bytes(shape, item) + pixels(shape) * SCORE


def median_bytes(shape: Shape, item: int) -> int:
    return 2 * map_bytes(shape, item)


def select_bytes(shape: Shape, n_points: int) -> int:
    return pixels(shape) * SCORE + shape[0] * n_points * INDEX


def replace_bytes(shape: Shape, item: int, n_points: int, in_place: bool) -> int:
    """Points and their values read and written; out of place every pixel is written, and each read from one map."""
    points = shape[0] * n_points * INDEX
    if in_place:
        return points + 2 * shape[0] * n_points * shape[1] * item
    return points + 2 * map_bytes(shape, item)


def refine_bytes(
    shape: Shape, item: int, n_points: int, *, in_place: bool, coarse_size: tuple[int, int] | None = None
) -> int:
    """Both maps read; in place the points' values written, out of place the whole map; and the list of points."""
    coarse = map_bytes((*shape[:2], *(coarse_size or shape[2:])), item)
    written = shape[0] * n_points * shape[1] * item if in_place else map_bytes(shape, item)
    return coarse + map_bytes(shape, item) + written + shape[0] * n_points * INDEX


def upsample_bytes(small: Shape, large: Shape, item: int) -> int:
    return map_bytes(small, item) + map_bytes(large, item) + pixels(large) * SCORE


def crop_bytes(area_read: int, n_patches: int, patch: tuple[int, int], channels: int, item: int) -> int:
    return (area_read + n_patches * prod(patch)) * channels * item


def stitch_bytes(shape: Shape, n_patches: int, patch: tuple[int, int], item: int) -> int:
    return n_patches * prod(patch) * shape[1] * item + map_bytes(shape, item) + pixels(shape)


def patch_uncertainty_bytes(shape: Shape, item: int, n_patches: int) -> int:
    return map_bytes(shape, item) + n_patches * SCORE


def stage_bytes(small: Shape, patches: Shape, large: Shape, item: int, *, labels: bool) -> int:
    """The previous scale's map and the patches read; the next map, or one byte a pixel for its labels, written."""
    written = pixels(large) if labels else map_bytes(large, item)
    return map_bytes(small, item) + map_bytes(patches, item) + written
