"""Tiny generated samples, each in the exact layout of a data set: a ground of one class, a disc of another, a rim.

Each function writes a sample and returns the ``data.*`` keys that open it, root included. All images are 64x96 (H, W),
and every split has its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magnet.data import LabelledFiles, open_split
from magnet.data.config import DataConfig

SIZE = (64, 96)
COUNTS = {"train": 4, "val": 2, "test": 2}
CITIES = {"train": ("aachen", "ulm"), "val": ("frankfurt", "lindau"), "test": ("berlin", "mainz")}


def disc(number: int, ground: int, thing: int, rim: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (64, 96, 3) uint8, and labels (64, 96) uint8 with two values and a third in the two top rows."""
    rng = np.random.default_rng(number)
    h, w = SIZE
    y, x = np.mgrid[:h, :w]
    inside = (y - rng.uniform(0.3, 0.7) * h) ** 2 + (x - rng.uniform(0.3, 0.7) * w) ** 2 < (h / 5) ** 2
    labels = np.where(inside, thing, ground).astype(np.uint8)
    labels[:2] = rim
    image = 60 + 120 * inside[..., None] + rng.integers(-30, 30, (h, w, 3))
    return image.astype(np.uint8), labels


def save(array: np.ndarray, path: Path) -> Path:
    """Write an array as an image, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def cityscapes_sample(path: Path) -> dict[str, str]:
    """leftImg8bit/ and gtFine/ with two cities a split; road (7), car (26) and ego vehicle (1). The labels of the test
    split mark ignored pixels alone, as distributed."""
    number = 0
    for split, count in COUNTS.items():
        for i in range(count):
            city = CITIES[split][i % 2]
            frame = f"{city}_{i:06d}_{number:06d}"
            image, labels = disc(number, 7, 26, 1) if split != "test" else disc(number, 0, 0, 1)
            save(image, path / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png")
            for kind in ("labelIds", "instanceIds", "color"):  # only the first is for us
                save(labels, path / "gtFine" / split / city / f"{frame}_gtFine_{kind}.png")
            (path / "gtFine" / split / city / f"{frame}_gtFine_polygons.json").write_text("{}")
            number += 1
    return {"data.root": str(path), "data.format": "cityscapes"}


def deepglobe_sample(path: Path, count: int = 8) -> dict[str, str]:
    """train/<id>_sat.jpg and <id>_mask.png: agriculture, water and unknown; valid/ has images only."""
    colours = np.zeros((256, 3), np.uint8)
    colours[1], colours[2] = (255, 255, 0), (0, 0, 255)
    for number in range(count):
        image, labels = disc(number, 1, 2, 0)
        save(image, path / "train" / f"{1000 + 17 * number}_sat.jpg")
        save(colours[labels], path / "train" / f"{1000 + 17 * number}_mask.png")
    save(image, path / "valid" / "99_sat.jpg")
    return {"data.root": str(path), "data.format": "deepglobe"}


def gleason_sample(path: Path, count: int = 15) -> dict[str, str]:
    """ "Train Imgs"/ and Maps1_T .. Maps6_T: 0, benign (1; 6 for annotator 2), grade 4. Annotators 1, 2, 3 saw every
    core, 4 and 5 every second one; nobody is 6's. Annotator 3 gives grade 3 where the others give 4."""
    for number in range(count):
        core = f"slide{1 + number // 5:03d}_core{number:03d}"
        image, labels = disc(number, 1, 4, 0)
        save(image, path / "Train Imgs" / f"{core}.jpg")
        for annotator in (1, 2, 3, 4, 5):
            if annotator > 3 and number % 2:
                continue
            own = labels.copy()
            if annotator == 2:
                own[labels == 1] = 6
            if annotator == 3:
                own[labels == 4] = 3
            save(own, path / f"Maps{annotator}_T" / f"{core}_classimg_nonconvex.png")
    (path / "Maps6_T").mkdir()
    save(image, path / "Test" / "Test_imgs" / "slide004_core001.jpg")
    return {"data.root": str(path), "data.format": "gleason"}


def list_sample(path: Path) -> dict[str, str]:
    """Lists of ``image<TAB>label`` lines, and classes.txt."""
    number = 0
    for split, count in COUNTS.items():
        lines = []
        for _ in range(count):
            image, labels = disc(number, 0, 1, 255)
            save(image, path / "pictures" / f"n{number}.jpg")
            save(labels, path / "annotations" / f"n{number}_ids.png")
            lines.append(f"pictures/n{number}.jpg\tannotations/n{number}_ids.png\n")
            number += 1
        (path / f"{split}.lst").write_text("".join(lines))
    (path / "classes.txt").write_text("0 ground\n1 thing\n")
    keys = {f"data.lists.{split}": f"{split}.lst" for split in COUNTS}
    return {"data.root": str(path), "data.format": "list", **keys}


def yaml_sample(path: Path) -> dict[str, str]:
    """data.yaml: folders for train and test, a list for val, values 10 and 20 mapped to two classes, 30 ignored."""
    number = 0
    for split, count in COUNTS.items():
        lines = []
        for _ in range(count):
            image, labels = disc(number, 10, 20, 30)
            save(image, path / split / "rgb" / f"n{number}.jpg")
            save(labels, path / split / "ids" / f"n{number}.png")
            lines.append(f"{split}/rgb/n{number}.jpg\t{split}/ids/n{number}.png\n")
            number += 1
        (path / f"{split}.txt").write_text("".join(lines))
    (path / "data.yaml").write_text(
        "classes: [ground, thing]\n"
        "mapping: {10: 0, 20: 1}\n"
        "ignore: [30]\n"
        "colours: [[40, 40, 40], [250, 200, 0]]\n"
        "train: {images: train/rgb, labels: train/ids}\n"
        "val: {list: val.txt}\n"
        "test: {images: test/rgb, labels: test/ids}\n"
    )
    return {"data.root": str(path), "data.format": "yaml", "data.file": "data.yaml"}


SAMPLES = {
    "cityscapes": cityscapes_sample,
    "deepglobe": deepglobe_sample,
    "gleason": gleason_sample,
    "list": list_sample,
    "yaml": yaml_sample,
}


def arguments(keys: dict[str, str]) -> list[str]:
    """Keys as the words of a command line: ``--data.root DIR ...``."""
    return [word for key, value in keys.items() for word in (f"--{key}", value)]


def configured(keys: Mapping[str, Any]) -> DataConfig:
    """The configuration that has the keys ``data.*``, without the time that the command line takes."""
    config = DataConfig()
    for key, value in keys.items():
        *sections, name = key.removeprefix("data.").split(".")
        owner = functools.reduce(getattr, sections, config)
        assert hasattr(owner, name)
        setattr(owner, name, value)
    return config


def files(config: DataConfig, split: str) -> LabelledFiles:
    (dataset,) = open_split(config, split)
    assert isinstance(dataset, LabelledFiles)
    return dataset
