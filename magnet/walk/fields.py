"""Fields: the parts of a raster that are walked over, each as a training image was.

Neighbours overlap, and each pixel is taken from the field whose centre is nearest along both axes, so that what is
taken lies as far from a field's border as it can: a partition of the raster into one rectangle a field.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import NamedTuple

from magnet.bounds import Size
from magnet.walk.grid import Box

__all__ = ["OVERLAP", "Field", "lay_out"]

OVERLAP = 0.25  # of a field, with the next one


class Field(NamedTuple):
    """A part of a raster.

    Attributes:
        number: from 0, row after row.
        box: (x0, y0, x1, y1) in pixels of the raster that the walk sees; may reach beyond a raster smaller than it.
        own: the part of it that its labels are taken for.
    """

    number: int
    box: Box
    own: Box


def lay_out(size: Size, field: Size, *, overlap: float, step: int = 1) -> list[Field]:
    """Fields that cover a raster.

    Args:
        size: (H, W) of the raster.
        field: (H, W) of each field.
        overlap: the least share of a field, along each axis, that it has in common with the next; 0 to 0.5.
        step: fields begin at multiples of it, as coarser levels have pixels there; the last ones end at the border.

    Raises:
        ValueError: a size is not positive, or the overlap not in its range.
    """
    if min(*size, *field, step) < 1:
        raise ValueError(f"size, field, step: expected at least 1, got {tuple(size)}, {tuple(field)}, {step}")
    if not 0 <= overlap <= 0.5:
        raise ValueError(f"overlap: expected 0 to 0.5 of a field, got {overlap}; neighbours share that much")
    rows, columns = (_spans(*both, overlap, step) for both in zip(size, field, strict=True))
    return [
        Field(i, (x.start, y.start, x.end, y.end), (x.first, y.first, x.last, y.last))
        for i, (y, x) in enumerate((y, x) for y in rows for x in columns)
    ]


class _Span(NamedTuple):
    start: int
    end: int
    first: int
    last: int


def _spans(length: int, field: int, overlap: float, step: int) -> list[_Span]:
    """Fields along one axis; ``first`` to ``last`` is what is taken from each."""
    if length <= field:
        return [_Span(0, field, 0, length)]
    if step > field // 4:
        step = 1
    # what is left of it when starts are rounded down is the overlap
    shared = min(ceil(field * overlap) + step - 1, field - 1)
    count = ceil((length - shared) / (field - shared))
    last = length - field
    starts = [*(i * last // (count - 1) // step * step for i in range(count - 1)), last]
    edges = [0, *((b + a + field) // 2 for a, b in pairwise(starts)), length]
    return [_Span(s, s + field, *edge) for s, edge in zip(starts, pairwise(edges), strict=True)]
