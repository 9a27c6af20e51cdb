"""Everything that can be wrong with a data set on disk, found in one pass that no bad file stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.folder import DataFolder
from magnet.data.labelled_files import LabelledFiles
from magnet.data.turns import turn_note
from magnet.data.unreadable import each
from magnet.errors import MagNetError
from magnet.notices import Notice, gathered
from magnet.windows import read_fitting_turned

__all__ = ["SplitReport", "check_split", "shared_images"]


@dataclass
class SplitReport:
    """What ``check_split`` found.

    Args:
        split: name of the split.
        place: its folder, or list.
        images: number of images that have a label file.
        sizes: (H, W) of the images: the least, the median and the largest by number of pixels.
        class_names: name of each class.
        pixels: pixels of each class.
        images_with: number of images that contain each class.
        ignored: pixels that are ignored, those of no class among them.
        strange: pixels of each label value, or colour, that stands for no class.
        wrong: messages of what must be mended, by kind.
        notes: messages of what may be in order.
    """

    split: str
    place: str
    images: int
    sizes: dict[str, tuple[int, int]]
    class_names: list[str]
    pixels: list[int]
    images_with: list[int]
    ignored: int
    strange: dict[str, int]
    wrong: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def percent(self, number: int) -> float:
        """Share of a class in the labelled pixels, in percent."""
        return 100 * self.pixels[number] / max(sum(self.pixels), 1)

    def content(self) -> dict[str, Any]:
        """As values for JSON."""
        return {
            "split": self.split,
            "place": self.place,
            "images": self.images,
            "sizes": self.sizes,
            "classes": [
                {"name": name, "percent": round(self.percent(i), 4), "images": self.images_with[i]}
                for i, name in enumerate(self.class_names)
            ],
            "pixels": {"labelled": sum(self.pixels), "ignored": self.ignored},
            "strange_values": self.strange,
            "wrong": self.wrong,
            "notes": self.notes,
        }


@dataclass
class _Seen:
    """What one image and its labels hold."""

    size: tuple[int, int] | None = None
    counts: np.ndarray | None = None  # pixels of each of 256 labels
    strange: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    note: str | None = None
    turn: str | None = None  # what to tell of an EXIF turn
    notices: list[Notice] = field(default_factory=list)


def check_split(dataset: LabelledFiles) -> SplitReport:
    """Read every image and label file of a split, and report what they hold and what is wrong with them."""
    seen = each(lambda index: _look(dataset, index), len(dataset), f"checking {dataset.split}")
    sizes = sorted((s.size for s in seen if s.size), key=lambda size: (size[0] * size[1], size))
    counts = [s.counts for s in seen if s.counts is not None]
    total: np.ndarray = np.stack(counts).sum(0) if counts else np.zeros(256, np.int64)
    classes = range(dataset.num_classes)
    strange: Counter[str] = Counter()
    report = SplitReport(
        split=dataset.split,
        place=str(dataset.place),
        images=len(dataset),
        sizes={"min": sizes[0], "median": sizes[len(sizes) // 2], "max": sizes[-1]} if sizes else {},
        class_names=dataset.class_names,
        pixels=[int(total[i]) for i in classes],
        images_with=[sum(bool(c[i]) for c in counts) for i in classes],
        ignored=int(total[IGNORE_INDEX]),
        strange={},
        notes=[*_of_pixels(seen), *(note for s in seen for note in (s.note, s.turn) if note)],
    )
    for one in seen:
        strange.update(one.strange)
        for kind, message in one.wrong:
            report.wrong.setdefault(kind, []).append(message)
    report.strange = dict(strange.most_common())
    if dataset.without_labels:
        report.wrong["images without labels"] = [str(path) for path in dataset.without_labels]
    if dataset.without_image:
        report.wrong["labels without an image"] = [str(path) for path in dataset.without_image]
    if counts and not sum(report.pixels):
        report.wrong["labels"] = [f"no pixel of the split '{dataset.split}' is of a class: there is nothing to learn"]
    if isinstance(dataset, DataFolder):
        listed = {*dataset.without_labels, *dataset.without_image}
        report.notes += [f"in no pair: {path}" for path in dataset.strays() if path not in listed]
    return report


def _of_pixels(seen: Sequence[_Seen]) -> list[str]:
    """One message for each kind of notice, with the first file and how many there are."""
    kinds: dict[str, list[Notice]] = {}
    for notice in (notice for one in seen for notice in one.notices):
        kinds.setdefault(notice.kind, []).append(notice)
    return [
        f"{len(found)} {'image' if len(found) == 1 else 'images'} of {len(seen)} {kind}; the first: {found[0]}"
        for kind, found in kinds.items()
    ]


def shared_images(datasets: Sequence[LabelledFiles]) -> list[str]:
    """Images that are in more than one split."""
    splits: dict[str, set[str]] = {}
    for dataset in datasets:
        for pair in dataset.pairs:
            splits.setdefault(str(pair.image.resolve()), set()).add(dataset.split)
    return [f"{path} is in {' and '.join(sorted(names))}" for path, names in splits.items() if len(names) > 1]


def _look(dataset: LabelledFiles, index: int) -> _Seen:
    seen = _Seen()
    path = dataset.pairs[index].image
    turned = 1
    try:
        with gathered() as seen.notices:
            image, turned = read_fitting_turned(path, upright=dataset.exif == "apply")
        seen.size = (image.shape[0], image.shape[1])
    except Exception as error:  # a decoder may fail in its own ways; the other files are still to be checked
        told = str(error) if isinstance(error, MagNetError) else f"'{path}': {type(error).__name__}: {error}"
        seen.wrong.append(("unreadable", told))
    try:
        decoded = dataset.read_labels(index)
    except MagNetError as error:
        unreadable = dataset.unreadable_labels(index)
        seen.wrong += [("unreadable", message) for message in unreadable] or [("sizes", str(error))]
        return seen
    try:
        seen.note = dataset.check_values(decoded)
    except MagNetError as error:
        seen.wrong.append(("labels", str(error)))
    seen.strange = decoded.strange
    seen.counts = np.bincount(decoded.labels.ravel(), minlength=256)
    if turned != 1:
        seen.turn = turn_note(path, turned, decoded.labels.shape, dataset.exif)[0]
    if seen.size and seen.size != decoded.labels.shape:
        seen.wrong.append(("sizes", dataset.size_mismatch(index, seen.size, decoded.labels.shape)))
    return seen
