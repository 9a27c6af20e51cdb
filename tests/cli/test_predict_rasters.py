"""``magnet predict`` of maps and slides: field by field, at their own pixels, each with the files that belong to it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.control
from PIL import Image
from raster_files import halved, noise, smooth, write_slide, write_tiff
from rasterio.features import rasterize

from magnet import MagNet, build_segmenter
from magnet.cli.main import main
from magnet.cli.predict import build_parser

UTM = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 400000.0, 0, -0.5, 5800000.0)}
KINDS = "labels,confidence,polygons,areas,ids"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "small"
    made = MagNet(
        build_segmenter("compact", 3),
        None,
        scales=[(32, 32), (64, 64)],
        patch_size=(32, 32),
        n_points=0.4,
        class_names=["water", "field", "roof"],
        colours=[(0, 0, 255), (0, 255, 0), (255, 0, 0)],
    )
    made.save_pretrained(folder)
    return folder


def pixels_of(height: int, width: int, channels: int = 3) -> np.ndarray:
    made = smooth(height, width, channels).astype(np.float64) * 0.6 + noise(height, width, channels) * 0.4
    return made.astype(np.uint8)


def predict(model: Path, out: Path, *given: object) -> int:
    return main(["predict", *map(str, given), "--model", str(model), "--out", str(out)])


def test_a_geotiff_comes_out_where_it_lay(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = pixels_of(150, 170)
    path = write_tiff(tmp_path / "tile.tif", pixels, **UTM)
    assert predict(model, tmp_path / "out", path, "--save", KINDS) == 0
    assert "tile_labels.tif" in capsys.readouterr().out
    with rasterio.open(tmp_path / "out" / "tile_labels.tif") as file:
        labels = file.read(1)
        assert file.shape == (150, 170) and file.nodata == 255
        assert file.crs.to_epsg() == 32633 and file.transform == UTM["transform"]
        assert file.colormap(1)[2][:3] == (255, 0, 0)
        assert file.tags(1)["CLASS_0"] == "water"
    with rasterio.open(tmp_path / "out" / "tile_ids.tif") as file:
        assert np.array_equal(file.read(1), labels) and file.transform == UTM["transform"]
    outlines = json.loads((tmp_path / "out" / "tile_polygons.geojson").read_text())
    shapes = [(one["geometry"], one["properties"]["class_id"]) for one in outlines["features"]]
    again = rasterize(shapes, labels.shape, fill=255, transform=UTM["transform"], dtype=np.uint8)
    assert np.array_equal(again, labels)
    with (tmp_path / "out" / "tile_areas.csv").open() as file:
        rows = {int(row["class_id"]): row for row in csv.DictReader(file)}
    for number in np.unique(labels):
        assert int(rows[number]["pixels"]) == (labels == number).sum()
        assert float(rows[number]["area"]) == pytest.approx((labels == number).sum() * 0.25)
        assert rows[number]["unit"] == "m2"
    one = MagNet.from_pretrained(model).predict_raster(path, tmp_path / "python")
    with rasterio.open(one.outputs["labels"]) as file:
        assert np.array_equal(file.read(1), labels)


def test_a_slide_comes_out_as_a_pyramid(model: Path, tmp_path: Path) -> None:
    pixels = pixels_of(320, 400)
    path = write_slide(tmp_path / "slide.svs", [pixels, halved(pixels)])
    assert predict(model, tmp_path / "out", path) == 0
    with rasterio.open(tmp_path / "out" / "slide_labels.tif") as file:
        assert file.shape == (320, 400) and set(np.unique(file.read(1))) <= {0, 1, 2}


def test_nodata_has_no_answer(model: Path, tmp_path: Path) -> None:
    pixels = np.maximum(pixels_of(130, 140), 1)
    pixels[:40, :50] = 0
    path = write_tiff(tmp_path / "tile.tif", pixels, nodata=0, **UTM)
    assert predict(model, tmp_path / "out", path) == 0
    with rasterio.open(tmp_path / "out" / "tile_labels.tif") as file:
        labels = file.read(1)
    assert (labels[:40, :50] == 255).all() and (labels == 255).sum() == 40 * 50


def test_sixteen_bits_and_four_bands_are_asked_about(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = pixels_of(130, 140, 4).astype(np.uint16) * 40
    colours = ("undefined",) * 4
    path = write_tiff(tmp_path / "tile.tif", pixels, colours=colours, **UTM)
    assert predict(model, tmp_path / "out", path) == 1
    assert "--bands" in capsys.readouterr().err
    assert predict(model, tmp_path / "out", path, "--bands", "3,2,1") == 1
    assert "--value-range" in capsys.readouterr().err
    assert predict(model, tmp_path / "out", path, "--bands", "3,2,1", "--value-range", "0,10200") == 0
    plain = write_tiff(tmp_path / "plain.tif", pixels_of(130, 140, 4)[..., [2, 1, 0]], **UTM)
    assert predict(model, tmp_path / "out", plain) == 0
    with (
        rasterio.open(tmp_path / "out" / "tile_labels.tif") as file,
        rasterio.open(tmp_path / "out" / "plain_labels.tif") as other,
    ):
        assert (file.read(1) == other.read(1)).mean() > 0.999  # rounding of / 10200 and / 255 aside


def test_extent_says_which_way(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(150, 170), **UTM)
    assert predict(model, tmp_path / "scene", path, "--extent", "scene") == 0
    assert Image.open(tmp_path / "scene" / "tile_labels.png").size == (170, 150)
    Image.fromarray(pixels_of(150, 170)).save(tmp_path / "photo.png")
    photo = tmp_path / "photo.png"
    assert predict(model, tmp_path / "photo", photo) == 0
    assert (tmp_path / "photo" / "photo_overlay.jpg").exists()
    assert predict(model, tmp_path / "ground", photo, "--extent", "ground", "--roi", "10,20,100,90") == 0
    labels = np.asarray(Image.open(tmp_path / "ground" / "photo_labels.png"))
    assert (labels[20:90, 10:100] != 255).all() and (labels != 255).sum() == 70 * 90
    capsys.readouterr()
    assert predict(model, tmp_path / "x", photo, "--roi", "10,20,100,90") == 2
    assert "--extent ground" in capsys.readouterr().err
    assert predict(model, tmp_path / "x", photo, "--save", "polygons") == 2
    assert "--extent ground" in capsys.readouterr().err
    assert predict(model, tmp_path / "x", path, "--save", "overlay") == 2
    assert "--extent scene" in capsys.readouterr().err


def test_the_same_command_can_be_given_again(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(150, 170), **UTM)
    assert predict(model, tmp_path / "out", path) == 0
    first = (tmp_path / "out" / "tile_labels.tif").read_bytes()
    assert predict(model, tmp_path / "out", path) == 0
    assert (tmp_path / "out" / "tile_labels.tif").read_bytes() == first
    (tmp_path / "out" / "tile_labels.tif").write_bytes(b"mine")
    capsys.readouterr()
    assert predict(model, tmp_path / "out", path) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "tile_labels.tif").read_bytes() == b"mine"


def test_a_raster_that_cannot_be_opened_is_no_picture(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(100, 100), **UTM)
    (tmp_path / "tile.tif.ovr").write_bytes(b"garbage of more than four bytes")
    assert predict(model, tmp_path / "out", path) == 1
    assert "tile.tif.ovr" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("tile_*"))


def test_a_world_file_needs_what_reads_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(100, 100))
    (tmp_path / "tile.tfw").write_text("0.5\n0\n0\n-0.5\n400000.25\n5800000.25\n")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert predict(model, tmp_path / "out", path) == 1
    assert "rasterio" in capsys.readouterr().err


def test_a_slide_is_not_walked_over_where_its_labels_could_not_be_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(tmp_path / "slide.svs", [pixels_of(320, 400)])
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert predict(model, tmp_path / "out", path) == 1
    assert "rasterio" in capsys.readouterr().err
    assert not (tmp_path / "out" / ".slide.fields").exists()


def test_control_points_are_told_of(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gcp.tif"
    points = [
        rasterio.control.GroundControlPoint(row, column, 4e5 + column, 5.8e6 - row)
        for row, column in ((0, 0), (0, 99), (99, 0), (99, 99))
    ]
    with rasterio.open(path, "w", driver="GTiff", width=100, height=100, count=3, dtype="uint8") as file:
        file.gcps = points, rasterio.CRS.from_epsg(32633)
        file.write(np.moveaxis(pixels_of(100, 100), 2, 0))
    assert predict(model, tmp_path / "out", path) == 0
    assert "control points" in caplog.text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--roi", "1,2,3"),
        ("--bands", "a"),
        ("--value-range", "bright"),
        ("--overlap", "0.9"),
        ("--min-confidence", "7"),
        ("--workers", "0"),
        ("--extent", "sky"),
        ("--classes", "9"),
        ("--classes", "300"),
        ("--roi", "0,0,9999,10"),
    ],
)
def test_wrong_options_are_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    path = write_tiff(tmp_path / "tile.tif", pixels_of(100, 100), **UTM)
    try:
        code = predict(model, tmp_path / "out", path, option, value)
    except SystemExit as error:
        code = int(str(error.code))
    assert code in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()[-1]  # above it argparse lists every option
    assert option[2:] in said or option[2:].replace("-", "_") in said
    assert not list(tmp_path.rglob("tile_*"))


def test_the_help_tells_of_them() -> None:
    text = build_parser().format_help()
    assert all(name in text for name in ("--extent", "--overlap", "--roi", "--bands", "--value-range", "--page"))
