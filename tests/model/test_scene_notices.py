"""What a scene leaves out of account is told: pixels without a value, maps and slides that are resized whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from map_data import PLACE
from PIL import Image
from raster_files import noise, write_tiff
from walked import EXACT, FIELD, build

from magnet import MagNet, build_segmenter
from magnet.cli.main import main

pytestmark = pytest.mark.usefixtures("one_thread")
NO_VALUE, WHOLE = "which are labelled as all others", "which is resized whole to the last scale"
LARGER = (FIELD[0] + 20, FIELD[1] + 4)


def _pixels(size: tuple[int, int] = FIELD) -> np.ndarray:
    """(H, W, 3) uint8 without a 0 but for an eighth of them."""
    pixels = np.maximum(noise(*size), 1)
    pixels[: size[0] // 4, : size[1] // 2] = 0
    return pixels


def _alpha(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([np.maximum(pixels, 1), np.where(pixels[..., :1] > 0, 255, 0).astype(np.uint8)], axis=2)


def _write(path: Path, kind: str) -> Path:
    pixels = _pixels()
    if kind == "nodata":
        return write_tiff(path, pixels, nodata=0)
    if kind == "png":
        Image.fromarray(_alpha(pixels)).save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    if kind == "alpha":
        return write_tiff(path, _alpha(pixels), photometric="RGB", alpha="yes")
    return write_tiff(path, pixels, mask=(pixels[..., 0] > 0).astype(np.uint8) * 255)


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask", "png"])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("plain", [True, False])
def test_pixels_without_a_value_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, many: bool, plain: bool
) -> None:
    path = _write(tmp_path / "x.tif", kind)
    model = build(**EXACT) if plain else build(**EXACT, value_range=(0, 255))
    if many:
        list(model.predict_many([path]))
    else:
        model.predict(path)
    [told] = [one.getMessage() for one in caplog.records if NO_VALUE in one.getMessage()]
    assert str(path) in told and "predict_raster()" in told and "--extent ground" in told
    share = 100 * (FIELD[0] // 4) * (FIELD[1] // 2) / (FIELD[0] * FIELD[1])
    assert f"in {share:.2g}% of its pixels" in told


def test_the_command_tells_of_pixels_without_a_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tiff(tmp_path / "x.tif", _pixels(LARGER), nodata=0, **PLACE)
    made = MagNet(build_segmenter("compact", 3), None, scales=[(32, 32), FIELD], patch_size=(32, 32), n_points=0.4)
    made.save_pretrained(tmp_path / "model")
    given = ["predict", str(path), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*given, "--extent", "scene"]) == 0
    assert NO_VALUE in caplog.text and WHOLE not in caplog.text  # which was asked for


def test_what_holds_values_everywhere_is_not_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pixels = build(**EXACT), np.maximum(noise(*FIELD), 1)
    model.predict(write_tiff(tmp_path / "nodata.tif", pixels, nodata=0))
    model.predict(write_tiff(tmp_path / "alpha.tif", _alpha(pixels), photometric="RGB", alpha="yes"))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("decoded twice")

    monkeypatch.setattr("magnet.images.rasters.validity.open_turned", refused)
    Image.fromarray(np.dstack([pixels, np.full(FIELD, 9, np.uint8)])).save(tmp_path / "faint.png")
    model.predict(tmp_path / "faint.png")
    for name in ("x.png", "x.jpg", "x.tif"):
        Image.fromarray(_pixels()).save(tmp_path / name)
        model.predict(tmp_path / name)
    assert not caplog.records


@pytest.mark.parametrize("beside", [False, True])
def test_a_map_that_is_resized_whole_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, beside: bool) -> None:
    model, path = build(**EXACT), tmp_path / "x.tif"
    if beside:
        path = tmp_path / "x.png"
        Image.fromarray(noise(*LARGER)).save(path)
        path.with_suffix(".pgw").write_text("0.5\n0\n0\n-0.5\n4e5\n5e6\n")
    else:
        write_tiff(path, noise(*LARGER), **PLACE)
    model.predict(path)
    [told] = [one.getMessage() for one in caplog.records if WHOLE in one.getMessage()]
    assert str(path) in told and "predict_raster()" in told and f"{LARGER[0]}x{LARGER[1]}" in told


def test_no_map_is_told_of_that_is_not_shrunk_or_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = write_tiff(tmp_path / "small.tif", noise(*FIELD), **PLACE)
    large = write_tiff(tmp_path / "large.tif", noise(*LARGER), **PLACE)
    picture = write_tiff(tmp_path / "picture.tif", noise(*LARGER))
    model = build(**EXACT)
    model.predict(small)
    model.predict(picture)
    model.predict(np.asarray(Image.open(large)))
    build(**EXACT, extent="scene").predict(large)
    assert not caplog.records


def test_a_slide_that_is_resized_whole_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from raster_files import write_slide

    path = write_slide(tmp_path / "x.svs", [noise(256, 320)])
    build(**EXACT).predict(path)
    assert "is a slide of 256x320" in caplog.text and "predict_raster()" in caplog.text


def test_what_cannot_be_known_of_pixels_without_a_value_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(*FIELD))
    (tmp_path / "x.tif.msk").write_bytes(b"no mask at all")
    labels = build(**EXACT).predict(path).labels
    assert labels.shape == FIELD and "may hold pixels without a value" in caplog.text and "x.tif.msk" in caplog.text
