"""Polygons of labels: rasterising them gives the labels back, and each object is one valid polygon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from label_blocks import ArrayBlocks, blobs
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import MergeAlg
from rasterio.features import rasterize, shapes
from shapely.geometry import shape

from magnet.images.label_files import objects
from magnet.images.label_files.connected import components
from magnet.images.label_files.polygons import write_polygons
from magnet.images.rasters import Place, Resolution

UTM = CRS.from_epsg(32633).to_wkt()
UP = (0.1, 0.0, 500000.3, 0.0, -0.1, 4000000.7)


def written(path: Path, labels: np.ndarray, **options: Any) -> dict[str, Any]:
    count = write_polygons(ArrayBlocks(labels), path, **options)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert len(found["features"]) == count
    return found  # type: ignore[no-any-return]


def check(found: dict[str, Any], labels: np.ndarray, transform: Affine | None = None) -> None:
    """One valid polygon for each object, all of them covering each pixel with an answer once."""
    transform = transform or Affine.identity()
    polygons = [shape(feature["geometry"]) for feature in found["features"]]
    for polygon in polygons:
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        assert polygon.exterior.is_ccw and not any(ring.is_ccw for ring in polygon.interiors)
    if polygons:
        ids = [feature["properties"]["class_id"] for feature in found["features"]]
        again = rasterize(zip(polygons, ids, strict=True), labels.shape, 255, dtype=np.uint8, transform=transform)
        np.testing.assert_array_equal(again, labels)
        times = rasterize(polygons, labels.shape, merge_alg=MergeAlg.add, transform=transform)
        np.testing.assert_array_equal(times, labels != 255)
    known = shapes(labels, mask=labels != 255, connectivity=4)
    assert len(found["features"]) == len(list(known))


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    classes, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**32))
    if draw(st.booleans()):
        return blobs((height, width), classes + 1, cell=draw(st.integers(2, 8)), seed=seed)
    share = draw(st.sampled_from([0.5, 0.8, 0.95]))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (height, width), dtype=np.uint8)
    return np.where(rng.random((height, width)) < share, np.uint8(0), np.where(labels == 0, np.uint8(255), labels))


@given(labels=label_maps(), rows=st.integers(1, 9), flush=st.sampled_from([0, 20, 1 << 18]))
def test_rasterised_polygons_are_the_labels(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, rows: int, flush: int
) -> None:
    path = tmp_path_factory.mktemp("polygons") / "x.json"
    confidence = np.random.default_rng(0).integers(0, 256, labels.shape, dtype=np.uint8)
    found = written(path, labels, confidence=ArrayBlocks(confidence))
    whole = path.read_bytes()
    check(found, labels)
    for feature in found["features"]:
        polygon = shape(feature["geometry"])
        inside = rasterize([polygon], labels.shape).astype(bool)
        assert feature["properties"]["area"] == polygon.area == inside.sum()
        assert feature["properties"]["confidence"] == pytest.approx(confidence[inside].mean() / 255, abs=6e-5)
    with pytest.MonkeyPatch.context() as patch:  # cut into strips, and written as soon as possible
        patch.setattr(objects, "_FLUSH", flush)
        written(path, labels, confidence=ArrayBlocks(confidence), strip_pixels=rows * labels.shape[1])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("transform", [UP, (0.3, 0.1, 1e5 + 1 / 3, 0.1, -0.3, 2e5), (2.0, 0.0, 5.0, 0.0, 2.0, 7.0)])
def test_polygons_at_a_place(tmp_path: Path, transform: tuple[float, float, float, float, float, float]) -> None:
    labels = blobs((150, 200), cell=20)
    found = written(tmp_path / "x.json", labels, place=Place(UTM, transform), class_names=["a", "b", "c"])
    assert found["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    check(found, labels, Affine(*transform))
    for feature in found["features"]:
        told = feature["properties"]
        assert set(told) == {"class", "class_id", "area", "area_unit"}
        assert told["class"] == "abc"[told["class_id"]] and told["area_unit"] == "m2"
        assert told["area"] == pytest.approx(shape(feature["geometry"]).area, rel=1e-4)


def test_the_name_of_the_system(tmp_path: Path) -> None:
    labels = np.zeros((2, 2), np.uint8)
    own = CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +ellps=bessel +units=m").to_wkt()
    for wkt, name in ((CRS.from_epsg(4326).to_wkt(), None), (None, None), (own, own)):
        found = written(tmp_path / "x.json", labels, place=Place(wkt, UP))
        assert found.get("crs", {}).get("properties", {}).get("name") == name


def test_polygons_for_qupath(tmp_path: Path) -> None:
    labels = np.array([[0, 0, 1], [0, 0, 2]], np.uint8)
    options = {"class_names": ["Tumour", 'Stroma "x"'], "colours": [(1, 2, 3), (4, 5, 6)]}
    found = written(tmp_path / "x.json", labels, resolution=Resolution(0.5, "um"), **options)
    assert "crs" not in found
    told = {feature["properties"]["class_id"]: feature["properties"] for feature in found["features"]}
    assert told[0] == {
        "class": "Tumour",
        "class_id": 0,
        "area": 1.0,
        "area_unit": "um2",
        "objectType": "annotation",
        "classification": {"name": "Tumour", "color": [1, 2, 3]},
    }
    assert told[1]["class"] == 'Stroma "x"'
    assert told[2]["classification"] == {"name": "2"}


def test_corners_that_touch(tmp_path: Path) -> None:
    """A ring of pixels that is closed only by a corner has a hole, and its two ends do not cross."""
    labels = np.array([[0, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    found = written(tmp_path / "x.json", labels)
    check(found, labels)
    (feature,) = found["features"]
    assert [len(ring) for ring in feature["geometry"]["coordinates"]] == [7, 5]
    diagonal = np.array([[0, 255], [255, 0]], np.uint8)
    assert len(written(tmp_path / "x.json", diagonal)["features"]) == 2


def test_objects_across_many_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FLUSH", 100)
    labels = blobs((900, 700), cell=60)
    labels[::2, 100] = 0  # a comb that is joined at the bottom, and what grows between its teeth
    labels[:, 101] = 1
    source = ArrayBlocks(labels)
    write_polygons(source, tmp_path / "x.json", strip_pixels=7000)
    assert source.largest == 7000 and len(source.boxes) == 90
    check(json.loads((tmp_path / "x.json").read_text()), labels)


def test_two_legs_that_join_others_in_different_strips(tmp_path: Path) -> None:
    rows = ["0.......0", "0.00000.0", "0.0...0.0", "0.0...000", "000.....0"]
    labels = np.array([[0 if one == "0" else 255 for one in row] for row in rows], np.uint8)
    found = written(tmp_path / "x.json", labels, strip_pixels=labels.shape[1])
    check(found, labels)
    assert len(found["features"]) == 1


def test_a_spiral_is_one_polygon(tmp_path: Path) -> None:
    size = 41
    labels = np.full((size, size), 255, np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    labels[0, 0] = 0
    for steps in [size - 1, *(length for k in range(size - 1, 0, -2) for length in (k, k))]:
        for _ in range(steps):
            y, x = y + dy, x + dx
            labels[y, x] = 0
        dy, dx = dx, -dy
    found = written(tmp_path / "x.json", labels, strip_pixels=3 * size)
    check(found, labels)
    assert len(found["features"]) == 1


def test_nothing_has_no_polygons(tmp_path: Path) -> None:
    assert written(tmp_path / "x.json", np.full((5, 7), 255, np.uint8))["features"] == []


def test_only_open_objects_are_kept() -> None:
    """A tall raster of small objects: what is held does not grow with it."""
    labels = np.kron(np.indices((200, 30)).sum(0) % 2, np.ones((2, 2))).astype(np.uint8)
    found = objects.Objects(60)
    counts = []
    for _ in range(300):
        finished = found.add(labels)
        held = sum(map(len, found._corners)) + sum(len(part.owner) for part in found._parts)
        counts.append((held, 0 if finished is None else len(finished.classes)))
    assert max(held for held, _ in counts) < 2 * objects._FLUSH
    assert sum(n for _, n in counts) + len(found.end().classes) == 300 * 200 * 30


def test_wrong_arguments(tmp_path: Path) -> None:
    labels = ArrayBlocks(np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="confidence: expected the size of the labels"):
        write_polygons(labels, tmp_path / "x.json", confidence=ArrayBlocks(np.zeros((3, 2), np.uint8)))
    with pytest.raises(ValueError, match="resolution: expected above 0 um or m"):
        write_polygons(labels, tmp_path / "x.json", resolution=Resolution(1, "inch"))


@given(st.integers(1, 40), st.integers(0, 80), st.integers(0, 2**32))
def test_components_are_those_of_a_plain_search(nodes: int, edges: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, nodes, (2, edges))
    root = list(range(nodes))
    for _ in range(nodes):
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            root[a] = root[b] = min(root[a], root[b])
    np.testing.assert_array_equal(components(nodes, first, second), root)
