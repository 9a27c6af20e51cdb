"""``magnet predict`` with models that keep how files are seen, and options that come before what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from raster_files import smooth, write_tiff

import magnet
from magnet.cli.main import main

CLASSES = 4


def save(folder: Path, channels: int = 5, **settings: Any) -> magnet.MagNet:
    torch.manual_seed(5)
    model = magnet.MagNet(
        magnet.build_segmenter("compact", CLASSES, channels=channels),
        magnet.RefinementModule(CLASSES),
        channels=channels,
        scales=[(32, 48), (64, 96)],
        patch_size=(32, 48),
        n_points=0.5,
        **settings,
    ).eval()
    model.save_pretrained(folder)
    return model


def write(path: Path, channels: int = 5, **profile: Any) -> np.ndarray:
    pixels = (smooth(64, 96, channels).astype(np.uint32) * 3000 // 255).astype(np.uint16)
    write_tiff(path, pixels, **profile)
    return pixels


def labels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def predict(tmp_path: Path, out: str, path: Path, *words: str) -> int:
    arguments = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / out), "--device", "cpu", *words]
    return main(["predict", str(path), *arguments])


def test_a_scene_is_seen_as_the_model_keeps(tmp_path: Path) -> None:
    model = save(tmp_path / "model", value_range=(0, 3000))
    pixels = write(tmp_path / "x.tif")
    assert predict(tmp_path, "out", tmp_path / "x.tif", "--save", "labels,overlay,sheet,uncertainty") == 0
    assert np.array_equal(labels(tmp_path / "out" / "x_labels.png"), model.predict(pixels).labels.numpy())
    assert Image.open(tmp_path / "out" / "x_overlay.jpg").size == (96, 64)


def test_options_come_before_what_the_model_keeps(tmp_path: Path) -> None:
    save(tmp_path / "model", value_range=(0, 65535), bands=(1, 2, 3, 4, 5))
    pixels = write(tmp_path / "x.tif")
    words = ["--bands", "5,4,3,2,1", "--value-range", "0,3000"]
    assert predict(tmp_path, "scene", tmp_path / "x.tif", *words) == 0
    assert predict(tmp_path, "ground", tmp_path / "x.tif", *words, "--extent", "ground") == 0
    model = magnet.MagNet.from_pretrained(tmp_path / "model", bands=(5, 4, 3, 2, 1), value_range=(0, 3000))
    expected = model.predict(pixels).labels.numpy()
    assert not np.array_equal(expected, magnet.MagNet.from_pretrained(tmp_path / "model").predict(pixels).labels)
    for out in ("scene", "ground"):
        assert np.array_equal(labels(tmp_path / out / "x_labels.png"), expected)


def test_the_extent_of_the_model_decides(tmp_path: Path) -> None:
    place = {"crs": "EPSG:32632", "transform": (0.5, 0, 5e5, 0, -0.5, 5e6)}
    write(tmp_path / "map.tif", **place)
    write(tmp_path / "x.tif")
    cases = (("scene", "map.tif", ".png"), ("ground", "map.tif", ".tif"), ("ground", "x.tif", ".png"))
    for extent, path, suffix in cases:
        save(tmp_path / "model", value_range=(0, 3000), extent=extent)
        out = f"{extent}_{path}"
        assert predict(tmp_path, out, tmp_path / path) == 0
        assert (tmp_path / out / f"{Path(path).stem}_labels{suffix}").is_file()
        overlays = list((tmp_path / out).glob("*_overlay.jpg"))
        assert bool(overlays) == (extent == "scene")
    save(tmp_path / "model", value_range=(0, 3000), extent="ground")
    assert predict(tmp_path, "asked", tmp_path / "map.tif", "--extent", "scene") == 0
    assert (tmp_path / "asked" / "map_overlay.jpg").is_file()


def test_a_file_of_other_bands_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "model", value_range=(0, 3000))
    write(tmp_path / "x.tif", 4)
    for extent in ("scene", "ground"):
        assert predict(tmp_path, extent, tmp_path / "x.tif", "--extent", extent) == 1
        assert "x.tif' has only the 4 bands" in capsys.readouterr().err
    assert predict(tmp_path, "out", tmp_path / "x.tif", "--bands", "1,2,3") == 2
    assert "bands: expected 5, one for each channel, got 3" in capsys.readouterr().err


def test_a_model_of_ground_warns_of_images_that_are_resized(tmp_path: Path) -> None:
    model = save(tmp_path / "model", 3, extent="ground")
    with pytest.warns(UserWarning, match=r"extent: expected an image of the last scale, \(64, 96\) .*got \(70, 96\)"):
        model.predict(smooth(70, 96))
