"""A data folder of small pictures made on the spot: two classes, a bright disc on a dark ground with a thin line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def tiny_folder(path: Path, *, size: tuple[int, int] = (64, 96), counts: tuple[int, int, int] = (4, 2, 2)) -> Path:
    """Write a data folder of ``counts`` (train, val, test) images of ``size`` (H, W); returns its path."""
    h, w = size
    (path / "images").mkdir(parents=True)
    (path / "labels").mkdir()
    (path / "classes.txt").write_text("0 ground\n1 thing\n255 ignore\n")
    number = 0
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        stems = []
        for _ in range(count):
            rng = np.random.default_rng(number)
            y, x = np.mgrid[:h, :w]
            cy, cx = rng.uniform(0.3, 0.7) * h, rng.uniform(0.3, 0.7) * w
            labels = ((y - cy) ** 2 + (x - cx) ** 2 < (h / 5) ** 2).astype(np.uint8)
            labels[int(rng.integers(h))] = 1
            image = 60 + 120 * labels[..., None] + rng.integers(-30, 30, (h, w, 3))
            labels[:2] = 255
            stem = f"p{number}"
            Image.fromarray(image.astype(np.uint8)).save(path / "images" / f"{stem}.jpg", quality=95)
            Image.fromarray(labels).save(path / "labels" / f"{stem}.png")
            stems.append(stem)
            number += 1
        (path / f"{split}.txt").write_text("".join(f"{s}\n" for s in stems))
    return path


def tiny_config(folder: Path, out: Path, **sections: str) -> list[str]:
    """Arguments of a training run of seconds on ``tiny_folder``."""
    values = {
        "name": "tiny",
        "out": str(out),
        "data.folders": f"[{folder}]",
        "data.workers": "0",
        "walk.scales": "[[32,48],[64,96]]",
        "walk.patch_size": "[32,48]",
        "walk.n_points": "0.5",
        "segmenter.iterations": "4",
        "segmenter.batch_size": "2",
        "segmenter.val_every": "0",
        "refiner.iterations": "3",
        "refiner.batch_size": "2",
        "refiner.val_every": "0",
        "refiner.val_chains": "2",
    }
    values.update(sections)
    return [part for key, value in values.items() for part in (f"--{key}", value)]
