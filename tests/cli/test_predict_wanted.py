"""``magnet predict --mask`` and ``--tissue``: only what is wanted has answers, and is part of what a job is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from predicting import predict, save_small_model
from raster_files import write_slide, write_tiff
from walked import pixels_of

ORIGIN = (400000.0, 5800000.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


def place_of(column: int = 0) -> dict:
    return {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, ORIGIN[0] + 60 * column, 0, -0.5, ORIGIN[1])}


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def write_area(path: Path, metres: float) -> Path:
    """The first ``metres`` to the east, as polygons of the raster's CRS."""
    (x, y), end = ORIGIN, ORIGIN[0] + metres
    ring = [[x, y - 1000], [end, y - 1000], [end, y], [x, y], [x, y - 1000]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    return path


def test_one_area_for_many_tiles(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for column in range(3):  # 60 m each
        write_tiff(tiles / f"{column}.tif", pixels_of(100, 120), **place_of(column))
    area = write_area(tmp_path / "area.geojson", 81)
    assert predict(model, tmp_path / "all", tiles) == 0
    assert predict(model, tmp_path / "out", tiles, "--mask", area) == 0
    for column, answered in enumerate((120, 42, 0)):
        expected = labels_of(tmp_path / "all" / f"{column}_labels.tif").copy()
        expected[:, answered:] = 255
        assert np.array_equal(labels_of(tmp_path / "out" / f"{column}_labels.tif"), expected)
    assert "in 0 fields" in capsys.readouterr().out
    assert predict(model, tmp_path / "out", tiles, "--mask", area) == 0
    assert "3 done before, 0 to do" in capsys.readouterr().out
    write_area(area, 150.1)
    assert predict(model, tmp_path / "out", tiles, "--mask", area) == 0
    assert (labels_of(tmp_path / "out" / "2_labels.tif") != 255).sum() == 60 * 100


def test_a_raster_that_a_mask_leaves_nothing_of_is_an_error(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(100, 120), **place_of(1))
    assert predict(model, tmp_path / "out", path, "--mask", write_area(tmp_path / "area.geojson", 50)) == 1
    assert "mask: expected polygons that hold pixels of" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*tile*"))


def test_tissue_of_a_slide(model: Path, tmp_path: Path) -> None:
    pixels = np.full((320, 400, 3), 240, np.uint8)
    pixels[100:200, 50:180] = (190, 80, 150)
    path = write_slide(tmp_path / "slide.svs", [pixels, pixels[::2, ::2]])
    assert predict(model, tmp_path / "out", path, "--tissue", "--roi", "0,0,400,150") == 0
    answered = labels_of(tmp_path / "out" / "slide_labels.tif") != 255
    assert answered[103:150, 53:177].all()  # its corners are rounded
    answered[100:150, 50:180] = False
    assert not answered.any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("scene.png", "--tissue"), "--tissue: expected a raster"),
        (("scene.png", "--mask", "scene.png"), "--mask: expected a raster segmented field by field"),
        (("tile.tif", "--mask", "none.tif"), "--mask: expected a raster or a GeoJSON file"),
    ],
)
def test_what_cannot_be_is_told(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels_of(60, 80)).save("scene.png")
    write_tiff(Path("tile.tif"), pixels_of(60, 80), **place_of())
    assert predict(model, tmp_path / "out", *given) != 0
    assert message in capsys.readouterr().err
