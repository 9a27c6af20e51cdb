"""A tile that holds nothing, or one value, among others that are stretched by their percentiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from map_data import PLACE
from raster_files import noise, write_tiff
from tiny_model import save_tiny_model

import magnet
from magnet import MagNet
from magnet.cli.main import main
from magnet.images.rasters.channels import Channels

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform", "error:invalid value"),
]
SIZE = (70, 130)
PERCENTILE = Channels(value_range="percentile")
NOTHING = "holds no value (nodata, alpha 0, NaN) in any of its pixels"


def _tiles(folder: Path, **more: object) -> Path:
    folder.mkdir()
    pixels = noise(*SIZE, dtype=np.uint16) // 16
    write_tiff(folder / "a.tif", pixels, nodata=0, **more)
    write_tiff(folder / "b_nodata.tif", np.zeros_like(pixels), nodata=0, **more)
    write_tiff(folder / "c_one.tif", np.full_like(pixels, 700), nodata=0, **more)
    write_tiff(folder / "d_nan.tif", np.full(pixels.shape, np.nan, np.float32), **more)
    write_tiff(folder / "e_large.tif", np.full(pixels.shape, 1e20, np.float32), **more)
    return folder


@pytest.mark.parametrize("ground", [False, True])
def test_a_blank_tile_takes_no_folder_down(tmp_path: Path, ground: bool, caplog: pytest.LogCaptureFixture) -> None:
    folder, model = _tiles(tmp_path / "tiles", **(PLACE if ground else {})), save_tiny_model(tmp_path / "model")
    words = ["predict", str(folder), "--model", str(model), "--out", str(tmp_path / "out"), "--save", "labels"]
    assert main([*words, "--value-range", "percentile"]) == 0
    suffix = "tif" if ground else "png"
    results = sorted((tmp_path / "out").glob(f"*_labels.{suffix}"))
    assert len(results) == 5
    [told] = [one for one in caplog.messages if NOTHING in one]
    assert "b_nodata.tif" in told
    assert [one for one in caplog.messages if one.startswith("image: 2 images of") and "hold no value at all" in one]
    if ground:
        with magnet.open_raster(tmp_path / "out" / "b_nodata_labels.tif") as labels:
            assert not labels.read_level(0, (0, 0, SIZE[1], SIZE[0]))[1].any()
    made = MagNet.from_pretrained(model, value_range="percentile")
    assert all(found.labels.shape == SIZE for found in made.predict_many(sorted(folder.iterdir())))


def test_one_value_throughout_is_black(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("c_one.tif", "e_large.tif"):
        with magnet.open_raster(_tiles(tmp_path / name) / name) as raster:
            convert = PERCENTILE.of(raster)
            assert not convert.seen(*raster.read_level(0, (0, 0, SIZE[1], SIZE[0]))).any()
    assert not caplog.messages


def test_values_that_only_finer_levels_hold_are_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.zeros((256, 256, 1), np.uint16)
    pixels[41, 43], pixels[91, 93] = 100, 900
    path = write_tiff(tmp_path / "x.tif", pixels, nodata=0, overviews=(2, 4))
    with magnet.open_raster(path) as raster:
        assert not raster.read_level(2, (0, 0, 64, 64))[1].any()
        [pair] = set(PERCENTILE.of(raster).ranges or ())
    assert pair == (116.0, 884.0)
    assert not caplog.messages
