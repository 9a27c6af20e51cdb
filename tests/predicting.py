"""``magnet predict`` with a model small enough for tests, on images of its kind."""

from __future__ import annotations

from pathlib import Path

from seeded import seed_module

from magnet import MagNet, build_segmenter
from magnet.cli.main import main


def save_small_model(folder: Path, **info: object) -> Path:
    """Write a model of three classes and two scales, 32 x 32 and 64 x 64, whose weights follow from their names."""
    settings: dict = {"scales": [(32, 32), (64, 64)], "patch_size": (32, 32), "n_points": 0.4}
    MagNet(seed_module(build_segmenter("compact", 3), "ids0."), None, **settings).save_pretrained(folder, info=info)
    return folder


def predict(model: Path, out: Path, *given: object) -> int:
    """The exit code, also where words are wrong; those of ``given`` come last, and count."""
    try:
        return main(["predict", "--model", str(model), "--out", str(out), *map(str, given)])
    except SystemExit as error:
        return int(str(error.code))
