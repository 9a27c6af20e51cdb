from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seeded import golden

from magnet.walk.grid import as_boxes, patch_grid, patch_starts


@pytest.mark.parametrize("name", [key for key in golden("ops") if key.startswith("patch_coords_")])
def test_release_grid(name: str) -> None:
    (width, height), (pw, ph) = (map(int, part.split("x")) for part in name.removeprefix("patch_coords_").split("_"))
    boxes = np.array(patch_grid((height, width), (ph, pw), flush=False))
    np.testing.assert_array_equal(boxes / [width, height, width, height], golden("ops")[name])


@given(st.integers(1, 300), st.integers(1, 300))
def test_flush_starts_cover_every_pixel_with_the_fewest_patches(size: int, patch: int) -> None:
    patch = min(size, patch)
    starts = patch_starts(size, patch)
    assert starts[0] == 0 and starts[-1] + patch == size
    assert all(0 < b - a <= patch for a, b in itertools.pairwise(starts))
    assert len(starts) == -(-size // patch)


def test_patches_move_from_the_releases_places_only_to_leave_no_gap() -> None:
    assert patch_starts(130, 32, flush=False) == [0, 24, 48, 72, 96]
    assert patch_starts(130, 32) == [0, 24, 48, 72, 98]
    assert patch_starts(7, 2, flush=False) == [0, 1, 2, 3]
    assert patch_starts(7, 2) == [0, 1, 3, 5]


def test_patches_go_column_by_column() -> None:
    assert patch_grid((4, 6), (2, 3)) == [(0, 0, 3, 2), (0, 2, 3, 4), (3, 0, 6, 2), (3, 2, 6, 4)]


def test_boxes_for_the_operators() -> None:
    assert as_boxes([(0, 1, 2, 3)]).tolist() == [[0, 0, 1, 2, 3]]
    assert as_boxes([]).shape == (0, 5)


def test_patch_must_fit() -> None:
    with pytest.raises(ValueError, match="patch_size: expected a patch"):
        patch_grid((10, 10), (11, 4))
