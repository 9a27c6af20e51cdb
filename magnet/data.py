"""Images and labels in folders, and their copies at each scale of the walk.

A data folder holds ``images/<stem>.jpg`` (or .png, .tif), ``labels/<stem>.png`` (8-bit, pixel = class id, 255 =
ignored), ``classes.txt`` (lines ``id name``), and lists of stems: ``train.txt``, ``val.txt``, ``test.txt``.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from magnet.errors import MagNetError
from magnet.images import read_image

__all__ = ["IGNORE_INDEX", "DataFolder", "Dataset", "GeneratedScenes", "ScaleCache", "read_labels", "resize_labels"]

IGNORE_INDEX = 255
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")


class Dataset(Protocol):
    """What training and evaluation need of a set of labelled images."""

    class_names: list[str]

    @property
    def num_classes(self) -> int: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8."""
        ...


def read_labels(path: str | os.PathLike[str], num_classes: int | None = None) -> np.ndarray:
    """Read a label image as (H, W) uint8: a class id in each pixel, 255 where it is to be ignored.

    Raises:
        MagNetError: missing or corrupt file, more than one channel or 8 bits, or ids outside ``num_classes``.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "1"):
                raise MagNetError(f"labels: expected an 8-bit image of class ids, got mode {image.mode}: '{path}'")
            labels = np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise MagNetError(
            f"labels: expected a file, but '{path}' does not exist; check labels/ and the split"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise MagNetError(
            f"labels: expected a readable image, but '{path}' is corrupt or not an image ({error}); replace the file"
        ) from error
    if num_classes is not None:
        found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
        outside = [int(v) for v in found if v >= num_classes and v != IGNORE_INDEX]
        if outside:
            raise MagNetError(
                f"labels: '{path}' holds {outside[:8]}, but the classes are 0..{num_classes - 1} ({IGNORE_INDEX} is "
                "ignored); mend the labels or classes.txt"
            )
    return labels


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-pixel resize of (H, W) labels to ``size`` (H, W), sampling at pixel centres."""
    if labels.shape == tuple(size):
        return labels
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.int64)
    return np.ascontiguousarray(labels[rows[:, None], columns[None, :]])


class DataFolder:
    """One split of a data folder.

    Args:
        path: the folder.
        split: "train", "val", "test", or any other list of stems in the folder.

    Raises:
        MagNetError: no such folder, list or class file; an empty split; an image or label file that is missing.
    """

    def __init__(self, path: str | os.PathLike[str], split: str) -> None:
        self.path = Path(path)
        self.split = split
        if not self.path.is_dir():
            raise MagNetError(
                f"data: expected a folder, but '{self.path}' does not exist; check data.root and data.folders"
            )
        for part in ("images", "labels"):
            if not (self.path / part).is_dir():
                raise MagNetError(
                    f"data: '{self.path}' has no {part}/ folder; expected images/, labels/, classes.txt and {split}.txt"
                )
        self.class_names = self._read_classes()
        listed = self._read_text(f"{split}.txt", f"list the file stems of the split '{split}', one a line")
        stems = [line.strip() for line in listed.splitlines() if line.strip()]
        if not stems:
            raise MagNetError(f"data: the split '{split}' of '{self.path}' is empty; list file stems in {split}.txt")
        by_stem = {p.stem: p for p in sorted((self.path / "images").iterdir()) if p.suffix.lower() in _IMAGE_SUFFIXES}
        self._files: list[tuple[Path, Path]] = []
        for stem in stems:
            if stem not in by_stem:
                raise MagNetError(f"data: {split}.txt of '{self.path}' lists '{stem}', which is not in images/")
            label_path = self.path / "labels" / f"{stem}.png"
            if not label_path.is_file():
                raise MagNetError(
                    f"data: '{label_path}' does not exist, but {split}.txt lists '{stem}'; add the labels"
                )
            self._files.append((by_stem[stem], label_path))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index][0].stem

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8.

        Raises:
            MagNetError: either file is corrupt, their sizes differ, or labels lie outside the classes; names the file.
        """
        image_path, label_path = self._files[index]
        image = read_image(image_path)
        labels = read_labels(label_path, self.num_classes)
        if image.shape[:2] != labels.shape:
            raise MagNetError(
                f"data: '{image_path}' is {image.shape[0]}x{image.shape[1]} (HxW), but its labels '{label_path}' are "
                f"{labels.shape[0]}x{labels.shape[1]}; they must be of one size"
            )
        return image, labels

    def _read_text(self, name: str, fix: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MagNetError(f"data: cannot read '{self.path / name}' ({reason}); {fix}") from error

    def _read_classes(self) -> list[str]:
        names: dict[int, str] = {}
        for line in self._read_text("classes.txt", "list the classes, one 'id name' a line").splitlines():
            if not line.strip():
                continue
            number, _, name = line.strip().partition(" ")
            if not number.isdigit():
                raise MagNetError(f"data: '{self.path / 'classes.txt'}': expected 'id name', got '{line.strip()}'")
            if int(number) != IGNORE_INDEX:
                names[int(number)] = name.strip() or number
        if not names or sorted(names) != list(range(len(names))):
            raise MagNetError(
                f"data: '{self.path / 'classes.txt'}': expected ids 0, 1, 2, ... without gaps, got {sorted(names)}"
            )
        return [names[i] for i in range(len(names))]


class GeneratedScenes:
    """Scenes of ``magnet.scenes``, each made from its own seed: ``first_seed``, ``first_seed + 1``, ..."""

    def __init__(self, count: int, size: tuple[int, int], first_seed: int) -> None:
        from magnet import scenes

        if count < 1:
            raise MagNetError(f"data.generated: expected at least one scene in the split, got {count}")
        self.class_names: list[str] = [c.name for c in scenes.SCENE_CLASSES]
        self._generate = scenes.generate_scene
        self._count, self._size, self._first_seed = count, size, first_seed

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"scene_{self._first_seed + index}"

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self._generate(self._size, self._first_seed + index)
        return np.asarray(image), np.asarray(labels)


class ScaleCache:
    """Images and labels of a data set, resized to each scale once and kept in memory.

    Args:
        dataset: the labelled images.
        sizes: (H, W) of each scale. An image smaller than a scale is not used there; the first scale always is.
        limit_mb: memory for the copies; the ones used longest ago are dropped beyond it.
    """

    def __init__(self, dataset: Dataset, sizes: Sequence[tuple[int, int]], limit_mb: int = 4096) -> None:
        self.dataset = dataset
        self.sizes = list(sizes)
        self._limit = limit_mb * 2**20
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._bytes = 0
        self._usable: dict[int, list[int]] = {}
        self._labelled = False

    def __len__(self) -> int:
        return len(self.dataset)

    def scales_of(self, index: int) -> list[int]:
        """The scales that the image is large enough for."""
        if index not in self._usable:
            self._load(index)
        return self._usable[index]

    def get(self, index: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, 3) uint8 and labels (h, w) uint8 at a scale."""
        key = (index, scale)
        if key not in self._kept:
            self._load(index)
        self._kept.move_to_end(key)
        return self._kept[key]

    def preload(self) -> None:
        """Read everything now, so that a bad file is found before the work starts.

        Raises:
            MagNetError: a bad file, or labels of which no pixel counts.
        """
        from tqdm import tqdm

        for index in tqdm(range(len(self)), desc="reading data", leave=False, disable=None):
            self.scales_of(index)
        if not self._labelled:
            raise MagNetError(
                f"data: every pixel of '{self.dataset.name(0)}' and the rest of its split is {IGNORE_INDEX} (ignored); "
                "there is nothing to learn from or to compare with"
            )

    def _load(self, index: int) -> None:
        image, labels = self.dataset.load(index)
        height, width = labels.shape
        self._labelled = self._labelled or bool((labels != IGNORE_INDEX).any())
        usable = [i for i, (h, w) in enumerate(self.sizes) if i == 0 or (h <= height and w <= width)]
        self._usable[index] = usable
        for scale in usable:
            h, w = self.sizes[scale]
            small = image
            if (h, w) != (height, width):
                small = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
            self._keep((index, scale), (small, resize_labels(labels, (h, w))))

    def _keep(self, key: tuple[int, int], value: tuple[np.ndarray, np.ndarray]) -> None:
        if key in self._kept:
            return
        self._kept[key] = value
        self._bytes += value[0].nbytes + value[1].nbytes
        while self._bytes > self._limit and len(self._kept) > len(self.sizes):
            _, (old_image, old_labels) = self._kept.popitem(last=False)
            self._bytes -= old_image.nbytes + old_labels.nbytes
