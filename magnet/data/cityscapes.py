"""Cityscapes, in the layout it is distributed in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from magnet.data.dataset import IGNORE_INDEX, Colour
from magnet.data.labelled_files import (
    FilePair,
    LabelledFiles,
    holds,
    image_files,
    images_in,
    is_hidden,
    pair_by_name,
)
from magnet.data.labels import ClassIds
from magnet.data.lists import listed_pairs
from magnet.errors import ArgumentError, MagNetError

__all__ = ["CITYSCAPES_CLASSES", "LABEL_ID_TO_TRAIN_ID", "Cityscapes"]

CITYSCAPES_CLASSES: dict[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of the classes above
LABEL_ID_TO_TRAIN_ID: dict[int, int] = {label_id: train_id for train_id, label_id in enumerate(_LABEL_IDS)}
_NOT_PUBLIC = "the labels of the test split of Cityscapes are not public; use the split val"
_LABEL_IDS_END = "_gtFine_labelIds"
_WANTED = (
    f"the files *{_LABEL_IDS_END}.png are wanted: unpack gtFine_trainvaltest.zip there, or read train ids with "
    "data.format list or yaml"
)


class Cityscapes(LabelledFiles):
    """One split of Cityscapes: 2975 images to train on, 500 to validate, 1525 to test, 1024x2048 (H, W), 19 classes.

    Layout, as leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip unpack: ``leftImg8bit/{train,val,test}/<city>/
    <city>_<6 digits>_<6 digits>_leftImg8bit.png`` and ``gtFine/.../..._gtFine_labelIds.png``. Label ids 0..33 become
    the 19 train ids; the ids that are not evaluated become 255. Source: https://www.cityscapes-dataset.com and the
    table of labels in its scripts (https://github.com/mcordts/cityscapesScripts).

    The true labels of the test split are not public: what is distributed in their place marks only pixels to ignore.

    Args:
        root: folder of ``leftImg8bit`` and ``gtFine``.
        split: "train", "val" or "test".
        file: a list of lines ``image<TAB>label`` to take instead of the folders; relative to ``root``.

    Raises:
        MagNetError: missing folders or files, an empty split, a test split without its labels.
    """

    def __init__(self, root: Path, split: str, *, file: Path | None = None, strict: bool = True) -> None:
        pairs, without_labels, without_image = listed_pairs(root, file) if file else _scan(root, split)
        faults = _wrong_kind(pairs)
        super().__init__(
            split,
            file or root,
            list(CITYSCAPES_CLASSES),
            ClassIds(
                len(CITYSCAPES_CLASSES),
                LABEL_ID_TO_TRAIN_ID,
                ignored=[*(i for i in range(34) if i not in LABEL_ID_TO_TRAIN_ID), IGNORE_INDEX],
            ),
            pairs,
            colours=list(CITYSCAPES_CLASSES.values()),
            without_labels=without_labels,
            without_image=without_image,
            faults=faults,
            strict=strict,
        )

    @property
    def no_labels(self) -> str:  # type: ignore[override]
        return _NOT_PUBLIC if self.split == "test" else ""

    def load(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As of ``LabelledFiles``; also raises MagNetError at labels that are only the stand-in of the test split."""
        image, labels = super().load(index, rng)
        if self.split == "test" and bool((labels == IGNORE_INDEX).all()):
            raise MagNetError(f"data: '{self.label_path(index)}' holds no label: {_NOT_PUBLIC}")
        return image, labels


def _scan(root: Path, split: str) -> tuple[list[FilePair], list[Path], list[Path]]:
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    if split not in ("train", "val", "test"):
        raise ArgumentError(f"split: expected train, val or test for Cityscapes, got '{split}'")
    if not images.is_dir():
        raise MagNetError(
            f"data: expected the folder '{images}', which does not exist; set data.root to the folder of leftImg8bit "
            f"and gtFine ('{root}' holds {holds(root)})"
        )
    if not labels.is_dir():
        told = _NOT_PUBLIC if split == "test" else f"'{root}' holds {holds(root)}: unpack gtFine_trainvaltest.zip there"
        raise MagNetError(f"data: expected the folder '{labels}', which does not exist; {told}")
    frames, label_files = _by_frame(images, "_leftImg8bit"), _by_frame(labels, _LABEL_IDS_END)
    for files, folder, end in ((frames, images, "_leftImg8bit"), (label_files, labels, _LABEL_IDS_END)):
        if not files:
            raise MagNetError(
                f"data: '{folder}' holds no <city>/<frame>{end}.png, but {_found(folder)}; "
                + (_WANTED if end == _LABEL_IDS_END else "unpack leftImg8bit_trainvaltest.zip there")
            )
    return pair_by_name(frames, label_files)


def _found(folder: Path) -> str:
    """What there is in the place of the files that are wanted: of the first city, or of the folder itself."""
    cities = [city for city in _cities(folder) if image_files(city)]
    if not cities:
        return holds(folder)
    kinds = {"_".join(path.stem.split("_")[3:]): path for path in image_files(cities[0])}
    return holds(folder, kinds.values()) + f" in {cities[0].name}/"


def _cities(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p))


def _by_frame(folder: Path, suffix: str) -> dict[str, Path]:
    """Files of all cities by ``<city>_<sequence>_<frame>``."""
    found: dict[str, Path] = {}
    for city in _cities(folder):
        found.update(images_in(city, suffix))
    return found


def _wrong_kind(pairs: Sequence[FilePair]) -> list[str]:
    """Label files of a list that are not of label ids: read as such, their values would be other classes."""
    others = [pair.labels[0] for pair in pairs if pair.labels[0].stem.endswith(("_labelTrainIds", "_color"))]
    return [f"data: '{others[0]}' holds no label ids, and {len(others)} files are like it; {_WANTED}"] if others else []
