"""The commands whose networks see image after image ask for freed memory to be kept; rasters give it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import tiny_config, tiny_folder
from tiny_model import save_tiny_model

import magnet
from magnet import devices
from magnet.cli.demo import run_demo
from magnet.cli.main import main
from magnet.model import predict_raster


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each time that it is asked for, in place of the real thing."""
    times: list[int] = []
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: times.append(1))
    return times


@pytest.mark.parametrize("command", ["eval", "tune", "predict", "demo", "train"])
def test_commands_ask_for_it(command: str, tmp_path: Path, asked: list[int]) -> None:
    data = tiny_folder(tmp_path / "data")
    if command == "train":
        words = tiny_config(data, tmp_path / "runs", **{"segmenter.iterations": "1"})
        assert main(["train", *words, "--stage", "segmenter", "--device", "cpu"]) == 0
    elif command == "demo":
        run_demo(tmp_path / "out", model=str(save_tiny_model(tmp_path / "model")), size=(256, 256), device="cpu")
    else:
        model = str(save_tiny_model(tmp_path / "model", num_classes=2))
        words = ["--model", model, "--device", "cpu"]
        if command == "predict":
            Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
            words += ["--out", str(tmp_path / "out"), str(tmp_path / "a.png")]
        else:
            words += ["--data", str(data), *(["--fractions", "0.5"] if command == "tune" else [])]
        assert main([command, *words]) == 0
    assert asked


def test_fields_of_a_raster_give_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(predict_raster, "return_freed_memory", lambda: given.append(1))
    model = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "model"))
    pixels = np.random.default_rng(0).integers(0, 255, (150, 300, 3), dtype=np.uint8)
    record = model.predict_raster(pixels, tmp_path / "out", name="a", progress=False)
    assert record.fields > 1
    assert len(given) == record.fields + 1  # before the first, too
