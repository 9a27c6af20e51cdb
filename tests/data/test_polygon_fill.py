"""Pixels that polygons hold, by window, against a loop over their sides, and against GDAL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from rasterio.features import rasterize, shapes

from magnet.bounds import Box
from magnet.images.wanted import polygon_fill
from magnet.images.wanted.polygon_fill import PolygonFill

Polygon = list[np.ndarray]
SIZE = (40, 50)


def fill_of(polygons: list[Polygon]) -> PolygonFill:
    rings = [ring for one in polygons for ring in one]
    return PolygonFill(np.concatenate(rings), [len(ring) for ring in rings], [len(one) for one in polygons])


def by_loops(polygons: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """How many polygons hold the centre of each pixel: those with an odd number of sides on its left."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    held = np.zeros(size, int)
    for rings in polygons:
        odd = np.zeros(size, bool)
        for ring in rings:
            for one, other in pairwise(ring.tolist()):
                (xa, ya), (xb, yb) = sorted((one, other), key=lambda corner: corner[1])
                if ya < yb:
                    odd ^= (y >= ya) & (y < yb) & (xa + (y - ya) * ((xb - xa) / (yb - ya)) < x)
        held += odd
    return held


def windows(size: tuple[int, int], rows: int, columns: int) -> Iterator[Box]:
    for y in range(0, size[0], rows):
        for x in range(0, size[1], columns):
            yield x, y, min(x + columns, size[1]), min(y + rows, size[0])


def read_by(fill: PolygonFill, size: tuple[int, int], rows: int, columns: int) -> np.ndarray:
    found = np.zeros(size, bool)
    for box in windows(size, rows, columns):
        found[box[1] : box[3], box[0] : box[2]] = fill.read(box)
    return found


def drawn(rng: np.random.Generator, kind: str) -> list[Polygon]:
    """Polygons of a few rings that may cross themselves, each other and the edges of the image."""
    polygons = []
    for _ in range(rng.integers(1, 6)):
        rings = []
        for _ in range(rng.integers(1, 4)):
            ring = rng.uniform(-20, 70, (rng.integers(3, 40), 2))
            if kind == "halves":  # corners and sides on the centres of pixels
                ring = np.round(ring * 2) / 2
            rings.append(np.concatenate([ring, ring[:1]]))
        polygons.append(rings)
    return polygons


@pytest.mark.parametrize("kind", ["any", "halves"])
@pytest.mark.parametrize("run", [1, 7, 256])
@pytest.mark.parametrize("most", [50, 1 << 22])
def test_a_pixel_is_held_where_an_odd_number_of_sides_is_on_its_left(
    monkeypatch: pytest.MonkeyPatch, kind: str, run: int, most: int
) -> None:
    monkeypatch.setattr(polygon_fill, "_RUN", run)
    monkeypatch.setattr(polygon_fill, "_MOST", most)
    rng = np.random.default_rng(4)
    for _ in range(10):
        polygons = drawn(rng, kind)
        expected = by_loops(polygons, SIZE) > 0
        fill = fill_of(polygons)
        assert np.array_equal(read_by(fill, SIZE, *SIZE), expected) and np.array_equal(
            read_by(fill, SIZE, 9, 13), expected
        )


def noisy(size: tuple[int, int]) -> np.ndarray:
    return (np.random.default_rng(7).random(size) < 0.3).astype(np.uint8)


def traced(labels: np.ndarray, value: int) -> list[Polygon]:
    return [[np.array(ring) for ring in one["coordinates"]] for one, of in shapes(labels) if of == value]


@pytest.mark.parametrize("value", [0, 1])
def test_the_outlines_of_a_noisy_result_give_its_pixels_back(value: int) -> None:
    labels = noisy((130, 170))
    polygons = traced(labels, value)
    assert np.array_equal(read_by(fill_of(polygons), labels.shape, 31, 47), labels == value)


def test_all_but_ties_is_as_gdal_has_it() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        polygons = drawn(rng, "any")
        given = [({"type": "Polygon", "coordinates": [ring.tolist() for ring in one]}, 1) for one in polygons]
        assert np.array_equal(fill_of(polygons).read((0, 0, *SIZE[::-1])), rasterize(given, SIZE).astype(bool))


def test_of_polygons_side_by_side_each_centre_is_in_one() -> None:
    edges = np.array([-3.0, 4.5, 12, 12.5, 30.5, 60])
    boxes = [
        [np.array([(a, c), (b, c), (b, d), (a, d), (a, c)])[:: 1 - 2 * turned]]
        for turned, (a, b) in enumerate(pairwise(edges[[0, 2, 5]]))
        for c, d in pairwise(edges)
    ]
    held = sum(fill_of([one]).read((0, 0, *SIZE[::-1])).astype(int) for one in boxes)
    assert (held == 1).all()


def test_a_window_asks_few_sides_of_a_large_polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = noisy((400, 400))
    polygons = sorted(traced(labels, 0), key=lambda one: sum(map(len, one)))[-1:]
    assert len(polygons[0]) > 2000  # holes and all
    fill, asked = fill_of(polygons), [0]
    inner = polygon_fill._ranges
    monkeypatch.setattr(polygon_fill, "_ranges", lambda *ends: (asked.append(len(inner(*ends))), inner(*ends))[1])
    for box in windows(labels.shape, 8, 400):
        fill.read(box)
    assert 0 < max(asked) < sum(len(ring) for ring in polygons[0]) / 5
