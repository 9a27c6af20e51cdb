"""GeoJSON over maps and over plain images: polygons become the pixels they lie on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from import_files import SIZE, image, labels_of, run


def feature(name: str | None, ring: list[list[float]], *holes: list[list[float]]) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring, *holes]}
    return {"type": "Feature", "properties": {"kind": {"name": name}}, "geometry": geometry}


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def test_geojson_over_maps(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    features = pytest.importorskip("rasterio.features")
    transform = rasterio.Affine(2, 0, 500000, 0, -2, 5000000)
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(8):
        at = transform @ rasterio.Affine.translation(40 * (k % 4), 30 * (k // 4))
        options = {"driver": "GTiff", "width": 40, "height": 30, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
        with rasterio.open(tmp_path / "images" / f"t{k}.tif", "w", transform=at, **options) as file:
            file.write(rng.integers(1, 255, (3, 30, 40), dtype=np.uint8))
    shapes = []
    for number in range(60):  # so small ones that they hardly overlap
        x, y = 500000 + rng.uniform(0, 310), 5000000 - rng.uniform(0, 110)
        corners = [
            (x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(np.arange(6), rng.uniform(2, 9, 6), strict=True)
        ]
        shapes.append((number % 2 + 1, [list(map(float, c)) for c in [*corners, corners[0]]]))
    content = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "EPSG:32631"}},
        "features": [feature(("field", "wood")[number - 1], ring) for number, ring in shapes],
    }
    (tmp_path / "all.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path / "all.geojson", "--images", tmp_path / "images", "--out", tmp_path / "out")
    assert run(*words, "--property", "kind.name", "--overlap", "later", "--val", 0.25) == 0
    assert (tmp_path / "out" / "classes.txt").read_text() == "0 background\n1 field\n2 wood\n"
    for k in range(8):
        with rasterio.open(tmp_path / "out" / "labels" / f"t{k}.tif") as file:
            found, at = file.read(1), file.transform
        geometries = [({"type": "Polygon", "coordinates": [ring]}, number) for number, ring in shapes]
        expected = features.rasterize(geometries, (30, 40), transform=at)
        assert np.array_equal(found, expected), k
        assert expected.any()


def test_features_without_a_class_are_counted_and_may_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path / "images" / "a.png")
    unclassified = {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": None}
    unclassified["geometry"] = {"type": "Polygon", "coordinates": [box(0, 0, 12, 8)]}
    content = {"type": "FeatureCollection", "features": [feature("hut", box(1, 1, 10, 8)), unclassified]}
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    blank = {**unclassified, "properties": {"kind": {"name": " "}}}
    (tmp_path / "a.geojson").write_text(json.dumps({**content, "features": [content["features"][0], blank]}))
    assert run(*words, "--property", "kind.name") == 1
    assert "1 of 2 features have none, as feature 1 of" in capsys.readouterr().err
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    assert run(*words, "--property", "kind.name") == 1
    told = capsys.readouterr().err
    assert "1 of 2 features have none, as feature 1 of" in told and "--skip-incomplete" in told
    assert run(*words, "--property", "kind.name", "--skip-incomplete") == 0
    assert "1 of 2 features have none in the property 'kind.name': left out" in capsys.readouterr().out
    labels = np.zeros(SIZE)
    labels[1:8, 1:10] = 1
    assert np.array_equal(labels_of(tmp_path / "out", "a"), labels)
    # where none has it, the property is another one, and nothing would be left
    assert run(*words, "--property", "kind.nome", "--skip-incomplete", "--overwrite") == 1
    told = capsys.readouterr().err
    assert "2 of 2 features have none" in told and "--skip-incomplete" not in told


def test_geojson_of_one_feature_and_of_features_that_hold_nothing(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "b.png", seed=1)
    hut = feature("hut", box(1, 1, 10, 8))
    empty = [
        {"type": "Feature", "properties": {}, "geometry": None},
        {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": []}},
    ]
    (tmp_path / "a.geojson").write_text(json.dumps(hut))
    (tmp_path / "b.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [*empty, hut]}))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words, "--property", "kind.name") == 0
    labels = np.zeros(SIZE)
    labels[1:8, 1:10] = 1
    for name in "ab":
        assert np.array_equal(labels_of(tmp_path / "out", name), labels)


def test_geojson_in_pixels_with_a_file_for_each_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "b.png", seed=1)
    outer, hole = box(1, 1, 10, 8), box(3, 3, 6, 6)
    for name in "ab":
        content = {
            "type": "FeatureCollection",
            "features": [feature("hut", outer, hole), feature("well", box(4, 4, 5, 5))],
        }
        (tmp_path / f"{name}.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words) == 1
    told = capsys.readouterr().err
    assert "the property 'class' of each feature, but 4 of 4 features have none, as feature 0 of" in told
    assert run(*words, "--property", "kind.name", "--ignore", "background") == 0
    labels = np.full(SIZE, 255)
    labels[1:8, 1:10], labels[3:6, 3:6], labels[4, 4] = 0, 255, 1
    assert np.array_equal(labels_of(tmp_path / "out", "a"), labels)
    image(tmp_path / "images" / "a.bmp")  # of the same stem
    both = [*words[:5], tmp_path / "both", *words[6:]]
    assert run(*both, "--property", "kind.name", "--ignore", "background") == 0
    assert sorted(path.stem for path in (tmp_path / "both" / "labels").iterdir()) == ["a_bmp", "a_png", "b"]
    (tmp_path / "images" / "a.bmp").unlink()
    (tmp_path / "b.geojson").unlink()
    assert run(*words, "--property", "kind.name", "--overwrite") == 1
    assert "has none in" in capsys.readouterr().err
    (tmp_path / "far.geojson").write_text(
        json.dumps({"features": [feature("hut", box(90, 90, 99, 99))], "type": "FeatureCollection"})
    )
    assert run("geojson", tmp_path / "far.geojson", *words[2:], "--property", "kind.name") == 1
    assert "lie on none" in capsys.readouterr().err
