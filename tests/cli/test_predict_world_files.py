"""Pictures with a world file are maps: segmented at their own pixels, their labels where they lay."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from predicting import predict, save_small_model
from raster_files import write_tiff
from rasterio.crs import CRS
from walked import pixels_of

from magnet import MagNet

UTM = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 400000.0, 0, -0.5, 5800000.0)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture
def png(tmp_path: Path) -> Path:
    pixels = pixels_of(100, 120)
    Image.fromarray(pixels).save(tmp_path / "tile.png")
    (tmp_path / "tile.pgw").write_text("0.5\n0\n0\n-0.5\n400000.25\n5799999.75\n")
    (tmp_path / "tile.prj").write_text(CRS.from_epsg(32633).to_wkt())
    write_tiff(tmp_path / "same.tif", pixels, **UTM)
    return tmp_path / "tile.png"


def test_labels_are_a_geotiff_at_the_place_of_the_picture(model: Path, tmp_path: Path, png: Path) -> None:
    out = tmp_path / "out"
    assert predict(model, out, png, tmp_path / "same.tif", "--save", "labels,areas,polygons") == 0
    with rasterio.open(out / "tile_labels.tif") as file, rasterio.open(out / "same_labels.tif") as expected:
        assert file.crs == expected.crs and file.transform == expected.transform == UTM["transform"]
        assert np.array_equal(file.read(1), expected.read(1))
    for kind in ("areas.csv", "polygons.geojson"):
        assert (out / f"tile_{kind}").read_text() == (out / f"same_{kind}").read_text()
    python = MagNet.from_pretrained(model).predict_raster(png, tmp_path / "python")
    assert python.outputs["labels"].read_bytes() == (out / "tile_labels.tif").read_bytes()


def test_a_scene_is_what_is_called_one(model: Path, tmp_path: Path, png: Path) -> None:
    assert predict(model, tmp_path / "scene", png, "--extent", "scene") == 0
    assert (tmp_path / "scene" / "tile_overlay.jpg").exists()
    (tmp_path / "tile.pgw").unlink()
    assert predict(model, tmp_path / "plain", png) == 0
    same = (tmp_path / one / "tile_labels.png" for one in ("scene", "plain"))
    assert len({path.read_bytes() for path in same}) == 1


def test_a_new_place_is_another_input(
    model: Path, tmp_path: Path, png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(model, out, png) == predict(model, out, png) == 0
    assert "1 done before" in capsys.readouterr().out
    (tmp_path / "tile.pgw").write_text("0.5\n0\n0\n-0.5\n500000.25\n5799999.75\n")
    assert predict(model, out, png) == 0
    with rasterio.open(out / "tile_labels.tif") as file:
        assert file.transform.c == 500000


def test_without_rasterio_it_is_said_what_is_missing(
    model: Path, tmp_path: Path, png: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert predict(model, tmp_path / "out", png) == 1
    said = capsys.readouterr().err
    assert "world file beside" in said and "pip install 'rasterio" in said
    assert predict(model, tmp_path / "scene", png, "--extent", "scene") == 0
