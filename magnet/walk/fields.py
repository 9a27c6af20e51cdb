"""Fields: the parts of a raster that are walked over, each as a training image was.

Neighbours overlap, and each pixel is taken from the field whose centre is nearest along both axes, so that what is
taken lies as far from a field's border as it can: a partition of the raster into one rectangle a field.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, lcm
from typing import NamedTuple

from magnet.bounds import Size
from magnet.walk.grid import Box

__all__ = ["OVERLAP", "Field", "lay_out"]

OVERLAP = 0.125  # of a field, with the next one; see docs/large.md, "Measured"


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


def lay_out(size: Size, field: Size, *, overlap: float, step: int = 1, tile: Size = (1, 1)) -> list[Field]:
    """Fields that cover a raster, the fewest.

    Args:
        size: (H, W) of the raster.
        field: (H, W) of each field.
        overlap: the least share of a field, along each axis, that it has in common with the next; 0 to 0.5.
        step: fields begin at multiples of it, as coarser levels have pixels there; the last ones end at the border.
        tile: (h, w) of the tiles that the raster is stored in. Fields begin with a tile, so that patches touch few of
            them, where that takes no more fields.

    Raises:
        ValueError: a size is not positive, or the overlap not in its range.
    """
    if min(*size, *field, *tile, step) < 1:
        raise ValueError(
            f"size, field, step, tile: expected at least 1, got {tuple(size)}, {tuple(field)}, {step}, {tuple(tile)}"
        )
    if not 0 <= overlap <= 0.5:
        raise ValueError(f"overlap: expected 0 to 0.5 of a field, got {overlap}; neighbours share that much")
    rows, columns = (_spans(*all_three, overlap, step) for all_three in zip(size, field, tile, strict=True))
    return [
        Field(i, (x.start, y.start, x.end, y.end), (x.first, y.first, x.last, y.last))
        for i, (y, x) in enumerate((y, x) for y in rows for x in columns)
    ]


class _Span(NamedTuple):
    start: int
    end: int
    first: int
    last: int


def _spans(length: int, field: int, tile: int, overlap: float, step: int) -> list[_Span]:
    """Fields along one axis; ``first`` to ``last`` is what is taken from each."""
    if length <= field:
        return [_Span(0, field, 0, length)]
    if step > field // 4:
        step = 1
    starts, aligned = (_starts(length, field, overlap, one) for one in (step, lcm(step, tile)))
    if aligned and len(aligned) <= len(starts):
        starts = aligned
    edges = [0, *((b + a + field) // 2 for a, b in pairwise(starts)), length]
    return [_Span(s, s + field, *edge) for s, edge in zip(starts, pairwise(edges), strict=True)]


def _starts(length: int, field: int, overlap: float, step: int) -> list[int]:
    """Where fields begin: at multiples of ``step``, evenly spread, the last at the border; [] where it is too large."""
    stride = (field - min(ceil(field * overlap), field - 1)) // step * step
    if stride == 0:
        return []
    last = length - field
    steps = -(-last // step)  # to the first multiple that is not before the last field
    count = -(-steps * step // stride)
    return [*(i * steps // count * step for i in range(count)), last]
