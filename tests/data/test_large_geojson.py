"""GeoJSON of many corners: what is kept of it while it is parsed, and corners of every kind."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magnet.errors import MagNetError
from magnet.images.wanted.polygon_mask import polygons_of, read_geojson

SQUARE = [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0]]


def _write(path: Path, *polygons: Any, kind: str = "Polygon") -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": kind, "coordinates": one}} for one in polygons
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_corners_take_little_more_memory_than_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnet.images.wanted.polygon_mask._MOST", 1 << 21)  # which is asked for, and not touched
    rng = np.random.default_rng(0)
    rings = rng.uniform(0, 3000, (1000, 40, 2)).round(6)
    rings[:, -1] = rings[:, 0]
    path = _write(tmp_path / "x.geojson", *(ring[None].tolist() for ring in rings))
    read_geojson(path)  # what is imported on the way is not counted
    tracemalloc.start()
    try:
        found = list(polygons_of(read_geojson(path), path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(np.stack([rings for (rings,) in found]), rings)
    assert peak < 4 * path.stat().st_size


@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon"])
@pytest.mark.parametrize(
    "corners",
    [
        SQUARE,
        [[*corner, 7.5] for corner in SQUARE],
        [[*corner, *[1] * (i % 3)] for i, corner in enumerate(SQUARE)],
        [[str(x), y] for x, y in SQUARE],
    ],
)
def test_corners_of_two_and_of_more_numbers(tmp_path: Path, kind: str, corners: list[Any]) -> None:
    given = [corners, corners]
    path = _write(tmp_path / "x.geojson", [given] if kind == "MultiPolygon" else given, kind=kind)
    [rings] = polygons_of(read_geojson(path), path)
    for ring in rings:
        assert ring.dtype == np.float64
        np.testing.assert_array_equal(ring, SQUARE)


@pytest.mark.parametrize(
    "rings",
    [
        [[[None, 0], *SQUARE[1:-1], [None, 0]]],
        [SQUARE[:-1]],
        [[[0, 0], [1, 1], [0, 0]]],
        [[1, 2, 3, 1]],
        [[[1], [2], [3], [1]]],
        [[[]]],
        [[]],
        [5],
        5,
        {"a": SQUARE},
        [SQUARE, "text"],
    ],
)
def test_what_is_no_ring_is_told(tmp_path: Path, rings: Any) -> None:
    path = _write(tmp_path / "x.geojson", rings)
    with pytest.raises(MagNetError, match=r"expected GeoJSON of polygons, but '.*x\.geojson' holds something else"):
        list(polygons_of(read_geojson(path), path))
