"""Gleason 2019, in the layout it is distributed in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import FilePair, LabelledFiles, holds, images_in
from magnet.data.labels import ClassIds, Decoded
from magnet.data.lists import listed_pairs, read_list
from magnet.data.splits import seeded_split
from magnet.errors import MagNetError

__all__ = ["GLEASON_CLASSES", "GLEASON_SPLIT", "Gleason", "majority"]

GLEASON_CLASSES = ("unlabelled", "benign", "Gleason 3", "Gleason 4", "Gleason 5")
GLEASON_SPLIT = (24 / 244, 49 / 244)  # val and test
_VALUES = {0: 0, 1: 1, 6: 1, 3: 2, 4: 3, 5: 4}  # value of a map -> class
_ANNOTATORS = 6
_SUFFIX = "_classimg_nonconvex"
_BITS = 3  # hold the votes of all annotators for one class


class Gleason(LabelledFiles):
    """One split of the Gleason 2019 challenge: 244 tissue cores of about 5000x5000, up to six annotators each.

    Layout: ``Train Imgs/<slide>_<core>.jpg`` and ``Maps1_T`` ... ``Maps6_T``, the annotators, each with
    ``<slide>_<core>_classimg_nonconvex.png`` for the cores that annotator saw. The challenge's ``Test`` folder has no
    maps, so all splits are parts of ``Train Imgs``: of list files, or ``seeded_split`` (by core). The values of a map
    become five classes: 0 -> 0 unlabelled (background), 1 and 6 -> 1 benign, 3, 4, 5 -> 2, 3, 4, the Gleason grades;
    any other value is an error. The public MagNet release trains five classes, too; which value goes where is this
    project's reading of the challenge, not taken from it. Source: https://gleason2019.grand-challenge.org.

    Args:
        root: folder of ``Train Imgs`` and the maps.
        split: "train", "val" or "test".
        annotator: "majority" = the class that most of an image's annotators gave; where two or more classes share the
            most votes (and so wherever two annotators of two disagree) the pixel is ignored (255). 1 .. 6 = that
            annotator; images that this one did not see are left out. "random" = in the training split, one of the
            image's annotators, drawn by the ``rng`` that ``load`` is given; without one, and in other splits, as
            "majority".
        file: a list to take instead of the seeded split: names of cores, or lines ``image<TAB>label`` relative to
            ``root``, whose label file is then the only annotation.
        val: fraction of the cores to validate on.
        test: fraction of the cores to test on.
        seed: seed of the split.

    Raises:
        MagNetError: missing folders or files, an empty split, an unknown annotator.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        annotator: Literal["majority", "random"] | int = "majority",
        file: Path | None = None,
        val: float = GLEASON_SPLIT[0],
        test: float = GLEASON_SPLIT[1],
        seed: int = 0,
        strict: bool = True,
    ) -> None:
        numbers = list(range(1, _ANNOTATORS + 1))
        if annotator not in ("majority", "random", *numbers):
            raise MagNetError(
                f"data.annotator: expected majority, random, or a number from 1 to {_ANNOTATORS}, got {annotator!r}"
            )
        self.varies = annotator == "random" and split == "train"
        wanted = [annotator] if isinstance(annotator, int) else numbers
        pairs, without_labels, without_image = _find(root, split, wanted, file, val, test, seed)
        super().__init__(
            split,
            file or root,
            GLEASON_CLASSES,
            ClassIds(len(GLEASON_CLASSES), _VALUES),
            pairs,
            without_labels=without_labels,
            without_image=without_image,
            strict=strict,
        )

    def read_labels(self, index: int, rng: np.random.Generator | None = None) -> Decoded:
        """Labels of an image by the choice of annotator.

        Raises:
            MagNetError: a map that is missing, corrupt, or of another size than the image's others.
        """
        files = self.pairs[index].labels
        if self.varies and rng is not None:
            files = (files[int(rng.integers(len(files)))],)
        maps = [self._code.read(path) for path in files]
        strange: dict[str, int] = {}
        for labels, values, path, *_ in maps:
            if labels.shape != maps[0].labels.shape:
                raise MagNetError(
                    f"data: '{path}' is {labels.shape[0]}x{labels.shape[1]} (HxW), but '{files[0]}' is "
                    f"{maps[0].labels.shape[0]}x{maps[0].labels.shape[1]}; all maps of an image must be of one size"
                )
            for value, count in values.items():
                strange[value] = strange.get(value, 0) + count
        if len(maps) == 1:
            return maps[0]
        votes = majority([each.labels for each in maps])
        odd = next((m for m in maps if m.lossy), None) or next((m for m in maps if m.strange), maps[0])
        return Decoded(votes, strange, odd.path, lossy=odd.lossy)


def majority(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The class that most maps give each pixel; 255 where classes share the most votes, or no map gives one.

    Args:
        maps: up to six (H, W) uint8 arrays of ids of the five classes, 255 = no vote.
    """
    ballots = np.zeros(256, np.uint16)
    ballots[: len(GLEASON_CLASSES)] = [1 << _BITS * i for i in range(len(GLEASON_CLASSES))]
    counted = np.zeros(maps[0].shape, np.uint16)
    for labels in maps:
        counted += ballots[labels]
    return _winners()[counted]


@functools.cache
def _winners() -> np.ndarray:
    """The winner for every outcome of a vote: the votes of each class, three bits a class."""
    outcomes = np.arange(1 << _BITS * len(GLEASON_CLASSES))[:, None]
    votes = outcomes >> _BITS * np.arange(len(GLEASON_CLASSES)) & (1 << _BITS) - 1
    alone = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    return np.where(alone, votes.argmax(1), IGNORE_INDEX).astype(np.uint8)


def _find(
    root: Path, split: str, annotators: list[int], file: Path | None, val: float, test: float, seed: int
) -> tuple[list[FilePair], list[Path], list[Path]]:
    lines = read_list(file) if file else []
    if file and any(line.labels for line in lines):
        return listed_pairs(root, file)
    folder = root / "Train Imgs"
    if not folder.is_dir():
        raise MagNetError(
            f"data: expected the folder '{folder}', which does not exist; set data.root to the folder of 'Train Imgs' "
            f"and Maps1_T ... Maps6_T ('{root}' holds {holds(root)})"
        )
    images = images_in(folder)
    every = {n: _maps(root, n) for n in range(1, _ANNOTATORS + 1)}
    if not any(every[n] for n in annotators):
        names = ", ".join(f"Maps{n}_T" for n in annotators)
        other = next((p for n in annotators if (p := root / f"Maps{n}_T").is_dir() and any(p.iterdir())), root)
        raise MagNetError(
            f"data: '{root}' has no maps in {names}: <core>{_SUFFIX}.png are wanted, and '{other}' holds {holds(other)}"
            "; unpack them there, or choose another data.annotator"
        )
    if not images:
        raise MagNetError(f"data: '{folder}' holds no image, but {holds(folder)}; unpack the training images there")
    annotated = {name for maps in every.values() for name in maps}
    absent: list[Path] = []
    if file:
        part = {Path(line.first).stem: None for line in lines}
        absent = [folder / f"{name}.jpg" for name in part if name not in images]
    else:
        part = dict.fromkeys(seeded_split(sorted({*images, *annotated}), split, val=val, test=test, seed=seed))
        absent = [next(maps[n] for maps in every.values() if n in maps) for n in part if n not in images]
    pairs, without_labels = [], []
    for name in part:
        if name not in images:
            continue
        labels = tuple(every[n][name] for n in annotators if name in every[n])
        if labels:
            pairs.append(FilePair(name, images[name], labels))
        elif name not in annotated:
            without_labels.append(images[name])
    return pairs, without_labels, absent


def _maps(root: Path, number: int) -> dict[str, Path]:
    folder = root / f"Maps{number}_T"
    return images_in(folder, _SUFFIX) if folder.is_dir() else {}
