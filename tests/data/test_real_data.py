"""On real labelled images, where they are: a folder named by MAGNET_DATA, or ../shared/data. Skipped elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from magnet import MagNet
from magnet.cli.evaluate import evaluate
from magnet.data import DataFolder

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("MAGNET_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
CLASSES = {"hrf": 2, "chase_db1": 2, "camvid_960x720": 11, "camvid_480x360": 11}


def folder(name: str) -> Path:
    if not (DATA / name / "classes.txt").is_file():
        pytest.skip(f"real data: {DATA / name} is not there; set MAGNET_DATA")
    return DATA / name


@pytest.mark.parametrize("name", CLASSES)
def test_folders_are_read(name):
    seen: set[str] = set()
    for split in ("train", "val", "test"):
        data = DataFolder(folder(name), split)
        names = {data.name(index) for index in range(len(data))}
        assert names and not names & seen
        seen |= names
        image, labels = data.load(0)
        assert image.shape[:2] == labels.shape
        assert data.num_classes == CLASSES[name]


def test_shipped_vessel_weights_gain_on_an_unseen_image():
    data = DataFolder(folder("hrf"), "test")
    model = MagNet.from_pretrained("hrf", amp="bf16")
    result = evaluate(model, data, modes=("coarse", "fast"), n_patches=[4, 16, 0], limit=1)
    assert result["coarse"]["mean_iou"] > 65
    assert result["fast"]["mean_iou"] > result["coarse"]["mean_iou"] + 4
