"""The folder layout of this project."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import (
    FilePair,
    LabelledFiles,
    holds,
    image_files,
    images_in,
    named_otherwise,
    refuse_nested,
)
from magnet.data.labels import ClassIds
from magnet.data.lists import read_classes, read_text
from magnet.data.unread import more, unread_faults, unread_files
from magnet.errors import MagNetError, printable

__all__ = ["DataFolder"]


class DataFolder(LabelledFiles):
    """One split of a data folder.

    A data folder holds ``images/<stem>.jpg`` (or .png, .tif), ``labels/<stem>.png`` (8-bit, pixel = class id, 255 =
    ignored; or .tif beside an image that is .tif), ``classes.txt`` (lines ``id name``; a line of id 255 declares that
    pixels are ignored), and lists of stems: ``train.txt``, ``val.txt``, ``test.txt``.

    Args:
        path: the folder.
        split: "train", "val", "test", or any other list of stems in the folder.

    Raises:
        MagNetError: no such folder, list or class file; an empty split; an image or label file that is missing, or
            named in another way.
    """

    def __init__(self, path: str | os.PathLike[str], split: str, *, strict: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise MagNetError(
                f"data: expected a folder, but '{self.path}' does not exist; check data.root and data.folders"
            )
        for part in ("images", "labels"):
            if not (self.path / part).is_dir():
                raise MagNetError(
                    f"data: '{self.path}' has no {part}/ folder, but {holds(self.path)}; expected images/, labels/, "
                    f"classes.txt and {split}.txt: name the folder of the {part} so, or describe the data in a YAML "
                    "file (data.format yaml)"
                )
        class_names, ignored = read_classes(self.path / "classes.txt")
        stems = _stems(self.path / f"{split}.txt", split)
        images, labels = images_in(self.path / "images"), _label_files(self.path / "labels")
        faults = _faults(self.path / f"{split}.txt", stems, images, labels)
        for part, found in (("images", images), ("labels", labels)):
            faults += unread_faults(dict.fromkeys(stems), self.path / part, found, part)
        pairs, without_labels, without_image = [], [], []
        for stem in dict.fromkeys(stems):
            if stem not in images:
                if stem in labels:  # the others are faults of the list
                    without_image.append(labels[stem])
            elif stem not in labels:
                without_labels.append(images[stem])
            elif _fits(images[stem], labels[stem]):
                pairs.append(FilePair(stem, images[stem], (labels[stem],)))
        if strict and without_image and not faults:
            raise MagNetError(
                f"data: {split}.txt of '{self.path}' lists '{printable(without_image[0].stem)}', which is not in "
                "images/; add the image, or take it out of the list"
            )
        if strict and without_labels and not faults:
            stem = without_labels[0].stem
            raise MagNetError(
                f"data: '{self.path / 'labels' / stem}.png' does not exist, but {split}.txt lists "
                f"'{printable(stem)}'; add the labels"
            )
        super().__init__(
            split,
            self.path,
            class_names,
            ClassIds(len(class_names), ignored=[IGNORE_INDEX] if ignored else []),
            pairs,
            without_labels=without_labels,
            without_image=without_image,
            faults=faults,
            strict=strict,
        )

    def strays(self) -> list[Path]:
        """Images of the folder without labels, and labels without an image, in whatever split or none."""
        images, labels = images_in(self.path / "images"), _label_files(self.path / "labels")
        return [images[s] for s in images if s not in labels] + [labels[s] for s in labels if s not in images]


def _stems(path: Path, split: str) -> list[str]:
    text = read_text(path, f"list the file stems of the split '{split}', one a line")
    stems = [line.strip() for line in text.splitlines() if line.strip()]
    if not stems:
        raise MagNetError(f"data: the split '{split}' of '{path.parent}' is empty; list file stems in {path.name}")
    return stems


def _label_files(folder: Path) -> dict[str, Path]:
    """Label files by stem; of several with one stem the PNG."""
    files = image_files(folder)
    refuse_nested(folder, files)
    return {p.stem: p for p in [*(p for p in files if not _is_png(p)), *(p for p in files if _is_png(p))]}


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _fits(image: Path, labels: Path) -> bool:
    """Whether a label file is of a kind that is read: PNG, and beside a TIFF a TIFF, as maps are."""
    tiff = (".tif", ".tiff")
    return _is_png(labels) or (labels.suffix.lower() in tiff and image.suffix.lower() in tiff)


def _as_stem(line: str) -> str:
    """What a line would be without folder and suffix."""
    return Path(line).stem


def _faults(path: Path, stems: Sequence[str], images: Mapping[str, Path], labels: Mapping[str, Path]) -> list[str]:
    """What is wrong with the lines of a list, and with the names of the label files that it asks for."""
    faults = []
    listed = f"data: {path.name} of '{path.parent}' lists "
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        faults.append(f"{listed}'{twice[0]}' twice{more(twice)}; remove one")
    longer = [stem for stem in stems if stem not in images and _as_stem(stem) in images]
    if longer:
        faults.append(
            f"{listed}'{longer[0]}'{more(longer)}; stems, without suffix and folder, are wanted: "
            f"'{_as_stem(longer[0])}'"
        )
    columns = [stem for stem in stems if "\t" in stem and stem not in longer]
    if columns:
        faults.append(f"{listed}'{columns[0]}'{more(columns)}; stems are wanted, or set data.format list")
    told = {*images, *labels, *longer, *columns}
    nowhere = [stem for stem in stems if stem not in told]
    unread = unread_files(path.parent / "images") if nowhere else {}
    faults += _nowhere(path, [stem for stem in nowhere if stem not in unread], images)
    found = [stem for stem in stems if stem in images and stem in labels]
    others = [labels[stem] for stem in found if not _fits(images[stem], labels[stem])]
    if others:
        lossy = others[0].suffix.lower() in (".jpg", ".jpeg")
        faults.append(
            f"data: '{others[0]}'{more(others)}: PNG is wanted; save the labels as '{others[0].stem}.png', 8-bit ids"
            + (", from their source, as JPEG changes ids" if lossy else "")
        )
    unlabelled = [stem for stem in stems if stem in images and stem not in labels]
    like = named_otherwise(unlabelled[0], labels) if unlabelled else None
    if like:
        faults.append(
            f"data: the labels of '{images[unlabelled[0]].name}'{more(unlabelled)} seem to be '{like}'; image and "
            f"labels have one name: rename it to '{unlabelled[0]}.png', or list the pairs (data.format list)"
        )
    return faults


def _nowhere(path: Path, stems: Sequence[str], images: Mapping[str, Path]) -> list[str]:
    """What to tell of lines of a list that are the stem of no file, once of each kind of line."""
    listed = f"data: {path.name} of '{path.parent}' lists "
    lower = {name.casefold(): name for name in images}
    columns: list[str] = []
    comments: list[str] = []
    slips: list[str] = []
    others: list[str] = []
    for stem in stems:
        parts = re.split(r"[\s,;]+", stem)
        if parts[1:] and _as_stem(parts[0]) in images:
            columns.append(stem)
        elif stem.startswith("#"):
            comments.append(stem)
        else:
            (slips if stem.casefold() in lower else others).append(stem)
    faults = []
    if columns:
        stem = _as_stem(re.split(r"[\s,;]+", columns[0])[0])
        faults.append(f"{listed}'{columns[0]}'{more(columns)}; stems, one a line, are wanted: '{stem}'")
    if comments:
        faults.append(f"{listed}'{comments[0]}'{more(comments)}; stems, one a line, are wanted: take the line out")
    for found in (slips, others):
        if found:
            near = difflib.get_close_matches(found[0], images, 1)
            like = lower.get(found[0].casefold(), near[0] if near else "")
            told = f"{listed}'{found[0]}'{more(found)}, which is neither in images/ nor in labels/"
            faults.append(
                f"{told}; did you mean '{like}'?" if like else f"{told}; add them, or take it out of the list"
            )
    return faults
