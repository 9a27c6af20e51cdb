"""What a report says of the walk: what is usual is not told."""

from __future__ import annotations

from typing import Any

import pytest

from magnet.evaluation.tables import about

CONTENT: dict[str, Any] = {
    **{"model": "m", "data": "d", "split": "test", "images": 1, "n_points": 0.5, "n_patches": 4, "kernel_size": 3},
    **{"amp": "none", "threads": 2, "scales": [[1, 2]], "boundary_width": 0.02, "device": "cpu", "device_name": "x"},
    **{"processes": 1, "versions": {}, "points_by": "score", "follow_image": False, "match_colours": False},
    **{"flips": "none", "compat": "paper"},
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "threads 2; scales"),
        ({"flips": "both"}, "threads 2, flips both; scales"),
        ({"points_by": "uncertainty", "match_colours": True}, "points_by uncertainty, match_colours True; scales"),
    ],
)
def test_what_is_not_usual_is_told(changes: dict[str, Any], told: str) -> None:
    assert told in about({**CONTENT, **changes})[1][0]
    older = {key: value for key, value in CONTENT.items() if key != "flips"}
    assert "flips" not in about(older)[1][0]
