"""Images, masks and commands of the tests of imported labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from magnet.cli.main import main
from magnet.data import DataFolder

SIZE = (9, 13)


def masked() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[2:6, 3:9] = mask[0, 0] = mask[8, 12] = True
    return mask


def lengths(mask: np.ndarray) -> list[int]:
    """Run lengths column by column, the first of pixels outside."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


def run(*words: object) -> int:
    try:
        return main(["data", "import", *map(str, words)])
    except SystemExit as error:
        return int(str(error.code))


def labels_of(out: Path, name: str, split: str = "train") -> np.ndarray:
    dataset = DataFolder(out, split)
    index = next(i for i in range(len(dataset)) if dataset.name(i) == name)
    return dataset.load(index)[1]
