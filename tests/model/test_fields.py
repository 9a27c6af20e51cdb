"""How a raster is laid out in fields."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnet.walk.fields import lay_out

sides = st.integers(1, 90)


@given(size=st.tuples(sides, sides), field=st.tuples(sides, sides), overlap=st.floats(0, 0.5), step=st.integers(1, 8))
def test_every_pixel_is_taken_once_from_the_field_whose_centre_is_nearest(
    size: tuple[int, int], field: tuple[int, int], overlap: float, step: int
) -> None:
    fields = lay_out(size, field, overlap=overlap, step=step)
    taken = np.zeros(size, int)
    for number, one in enumerate(fields):
        assert one.number == number
        x0, y0, x1, y1 = one.box
        assert (y1 - y0, x1 - x0) == field and x0 >= 0 and y0 >= 0
        for begin, length, whole, side in ((y0, field[0], size[0], 0), (x0, field[1], size[1], 1)):
            if whole > length:  # else a field reaches beyond the raster
                assert begin + length <= whole
                of_last = begin + length == whole
                assert begin % (1 if step > field[side] // 4 else step) == 0 or of_last
        a, b, c, d = one.own
        assert x0 <= a < c <= x1 and y0 <= b < d <= y1
        taken[b:d, a:c] += 1
        rows, columns = np.mgrid[b:d, a:c]
        for centres, mine, along in ((rows, (y0 + y1) / 2, 1), (columns, (x0 + x1) / 2, 0)):
            others = {(other.box[along] + other.box[along + 2]) / 2 for other in fields}
            nearest = np.min([np.abs(centres + 0.5 - other) for other in others], axis=0)
            # to a pixel: the middle between two centres may lie within one
            assert (np.abs(centres + 0.5 - mine) <= nearest + 1).all()
    assert (taken == 1).all()


@given(
    length=st.integers(1, 3000), field=st.integers(8, 200), overlap=st.floats(0, 0.5), step=st.sampled_from([1, 2, 8])
)
def test_neighbours_share_what_was_asked_for_with_the_fewest_fields(
    length: int, field: int, overlap: float, step: int
) -> None:
    starts = [one.box[0] for one in lay_out((1, length), (1, field), overlap=overlap, step=step)]
    step = 1 if step > field // 4 else step
    shared = field * overlap
    assert all(a + field - b >= shared - 1e-9 for a, b in pairwise(starts))
    if len(starts) > 1:  # one field fewer would not do, steps aside
        assert (len(starts) - 1) * (field - shared - step) + shared + step < length + field


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overlap": 0.6}, "overlap: expected 0 to 0.5 of a field, got 0.6"),
        ({"overlap": 0.1, "field": (0, 4)}, "expected at least 1"),
        ({"overlap": 0.1, "step": 0}, "expected at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lay_out(**{"size": (10, 10), "field": (4, 4), **arguments})


@given(
    length=st.integers(1, 3000),
    field=st.integers(8, 200),
    overlap=st.floats(0, 0.5),
    step=st.sampled_from([1, 2, 8]),
    tile=st.sampled_from([1, 16, 48, 50, 64]),
)
def test_fields_begin_with_tiles_where_that_takes_no_more_of_them(
    length: int, field: int, overlap: float, step: int, tile: int
) -> None:
    def starts(**more: object) -> list[int]:
        laid = lay_out((length, 1), (field, 1), overlap=overlap, step=step, **more)  # type: ignore[arg-type]
        assert laid[0].own[1] == 0 and laid[-1].own[3] == length
        assert all(a.own[3] == b.own[1] for a, b in pairwise(laid))
        return [one.box[1] for one in laid]

    plain, aligned = starts(), starts(tile=(tile, 1))
    assert len(plain) == len(aligned)
    assert all(a + field - b >= field * overlap - 1e-9 for a, b in pairwise(aligned))
    if len(plain) == 1:
        return
    multiple = lcm(step if step <= field // 4 else 1, tile)
    stride = (field - ceil(field * overlap)) // multiple * multiple
    fits = stride > 0 and 1 + ceil(ceil((length - field) / multiple) * multiple / stride) <= len(plain)
    assert aligned == plain or fits
    assert not fits or all(start % multiple == 0 for start in aligned[:-1])


def test_the_fewest_fields_are_laid_out() -> None:
    for step in (1, 2, 4, 8):  # a field of 2048 and a stride of 1536, which 4 strides of a raster of 8192 are
        assert [one.box[0] for one in lay_out((1, 8192), (1, 2048), overlap=0.25, step=step)] == [
            0,
            1536,
            3072,
            4608,
            6144,
        ]
