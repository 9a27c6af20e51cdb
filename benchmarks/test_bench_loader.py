"""How long training waits for its data: `compact` on photographs of 2048 x 1024, as ``magnet train`` does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from targets import MOST_DATA_WAIT

from magnet.cli.config import parse_config
from magnet.data.scenes import generate_scene
from magnet.training.run import run_training

SIZE, IMAGES, STEPS = (1024, 2048), 4, 20
CASES = {  # (data.workers, data.cache_mb); 0 MB: every sample decodes its image anew
    "2 workers": (2, 4096),
    "2 workers, every image decoded for every sample": (2, 0),
    "no workers": (0, 4096),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(IMAGES):
        image, labels = generate_scene(SIZE, number)
        Image.fromarray(np.asarray(image)).save(folder / "images" / f"{number}.jpg", quality=92)
        Image.fromarray(np.asarray(labels)).save(folder / "labels" / f"{number}.png")
    (folder / "classes.txt").write_text("".join(f"{i} class {i}\n" for i in range(8)))
    (folder / "train.txt").write_text("".join(f"{i}\n" for i in range(IMAGES)))
    (folder / "val.txt").write_text("0\n")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_training_waits_little_for_its_data(case: str, photographs: Path, tmp_path: Path, report) -> None:
    workers, cache_mb = CASES[case]
    settings = {
        "name": "loader",
        "out": str(tmp_path),
        "data.folders": f"[{photographs}]",
        "data.workers": str(workers),
        "data.cache_mb": str(cache_mb),
        "walk.scales": "[[128,256],[256,512],[512,1024],[1024,2048]]",
        "walk.patch_size": "[128,256]",
        "segmenter.iterations": str(STEPS + 1),
        "segmenter.batch_size": "12",
        "segmenter.augment.zoom": "[0.9,1.2]",
        "segmenter.val_every": "0",
        "device": "cpu",
    }
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    with torch.enable_grad():
        run_training(parse_config(words), "segmenter")
    lines = [json.loads(line) for line in (tmp_path / "loader" / "log.jsonl").read_text().splitlines()]
    share = next(line["data_wait"] for line in lines if line["step"] == STEPS and "lr" in line)
    report.data_wait[case] = share
    if workers == 2 and cache_mb:
        assert share < MOST_DATA_WAIT, f"{share:.1%} of the time of {STEPS} steps went into waiting for data"
