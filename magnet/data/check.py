"""Everything that can be wrong with a data set on disk, found in one pass that no bad file stops."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magnet.data.counting import image_labels
from magnet.data.folder import DataFolder
from magnet.data.labelled_files import LabelledFiles
from magnet.data.labels import ValidPixels
from magnet.data.meaning import ImageLabels, LabelCounts, Verdict, judge_scored, judge_trained
from magnet.data.overlap import shared_labels
from magnet.data.turns import turn_note
from magnet.data.unreadable import each, share_without_value
from magnet.errors import MagNetError
from magnet.images.opening import PixelsError
from magnet.images.rasters.channels import BandsError
from magnet.images.rasters.declared_range import tell_range
from magnet.notices import Notice, gathered

__all__ = ["SplitReport", "check_split", "judge"]


@dataclass
class SplitReport:
    """What ``check_split`` found.

    Args:
        split: name of the split.
        place: its folder, or list.
        images: number of images that have a label file.
        sizes: (H, W) of the images: the least, the median and the largest by number of pixels.
        counts: what the labels hold; pixels of no class are among those that are ignored.
        no_labels: why it may have no labelled pixel, where that is known.
        strange: pixels of each label value, or colour, that stands for no class.
        wrong: messages of what must be mended, by kind.
        notes: messages of what may be in order.
    """

    split: str
    place: str
    images: int
    sizes: dict[str, tuple[int, int]]
    counts: LabelCounts
    no_labels: str
    strange: dict[str, int]
    wrong: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def percent(self, number: int) -> float:
        """Share of a class in the labelled pixels, in percent."""
        return 100 * self.counts.pixels[number] / max(sum(self.counts.pixels), 1)

    def judge(self, verdict: Verdict) -> None:
        """Take in what is to be said of labels that are legal."""
        if verdict.wrong:
            self.wrong["what labels mean"] = verdict.wrong
        self.notes += verdict.doubtful

    def content(self) -> dict[str, Any]:
        """As values for JSON."""
        return {
            "split": self.split,
            "place": self.place,
            "images": self.images,
            "sizes": self.sizes,
            "classes": [
                {"name": name, "percent": round(self.percent(i), 4), "images": self.counts.images_with[i]}
                for i, name in enumerate(self.counts.class_names)
            ],
            "pixels": {"labelled": sum(self.counts.pixels), "ignored": self.counts.ignored},
            "strange_values": self.strange,
            "wrong": self.wrong,
            "notes": self.notes,
        }


@dataclass
class _Seen:
    """What one image and its labels hold."""

    size: tuple[int, int] | None = None
    labels: ImageLabels | None = None
    strange: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    note: str | None = None
    turn: str | None = None  # what to tell of an EXIF turn
    missing: str | None = None  # what to tell of pixels without a value
    notices: list[Notice] = field(default_factory=list)


def check_split(dataset: LabelledFiles) -> SplitReport:
    """Read every image and label file of a split, and report what they hold and what is wrong with them."""
    seen = each(lambda index: _look(dataset, index), len(dataset), f"checking {dataset.split}")
    sizes = sorted((s.size for s in seen if s.size), key=lambda size: (size[0] * size[1], size))
    counts = LabelCounts.of(dataset.class_names, [s.labels for s in seen if s.labels is not None])
    strange: Counter[str] = Counter()
    report = SplitReport(
        split=dataset.split,
        place=str(dataset.place),
        images=len(dataset),
        sizes={"min": sizes[0], "median": sizes[len(sizes) // 2], "max": sizes[-1]} if sizes else {},
        counts=counts,
        no_labels=dataset.no_labels,
        strange={},
        notes=[
            *shared_labels(dataset),
            *_of_pixels(seen),
            *(note for s in seen for note in (s.note, s.turn, s.missing) if note),
        ],
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
    if dataset.faults:
        report.wrong["files"] = list(dataset.faults)
    if not dataset.pairs:
        told = f"no image of the split '{dataset.split}' has its labels{dataset.none_fits()}"
        report.wrong.setdefault("files", []).append(told)
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


def judge(reports: Sequence[SplitReport], accept: Collection[str]) -> None:
    """Add to the reports whether labels can be meant: those of all folders to train on together, the others alone."""
    train = [report for report in reports if report.split == "train" and report.counts.any()]
    if train:
        counts = sum((report.counts for report in train[1:]), train[0].counts)
        train[-1].judge(judge_trained(counts, accept))
    for report in reports:
        if report.split != "train" and report.counts.any():
            report.judge(judge_scored(report.counts, report.split, report.no_labels))


def _look(dataset: LabelledFiles, index: int) -> _Seen:
    seen = _Seen()
    path = dataset.pairs[index].image
    turned, valid = 1, None
    try:
        with gathered() as seen.notices:
            if dataset.by_parts(index):
                with dataset.open_image(index) as raster:
                    seen.size = raster.size
                    tell_range(raster, dataset.inputs.chosen, dataset.inputs.of(raster))
                missing = share_without_value(dataset, index)
            else:
                image = dataset.read_image(index)
                turned, seen.size = image.turned, (image.pixels.shape[0], image.pixels.shape[1])
                valid = image.valid
                missing = 0.0 if valid is None else 1 - float(valid.mean())
            if missing:
                share = f"{missing:.1%}" if missing >= 0.001 else "less than 0.1%"
                seen.missing = f"'{path}': {share} of its pixels hold no value, and are ignored"
    except (BandsError, PixelsError) as error:
        seen.wrong.append(("bands and values", str(error)))
    except Exception as error:  # a decoder may fail in its own ways; the other files are still to be checked
        told = str(error) if isinstance(error, MagNetError) else f"'{path}': {type(error).__name__}: {error}"
        seen.wrong.append(("unreadable", told))
    try:
        with gathered() as notices, _valid_pixels(dataset, index, seen, valid) as known:
            tally = dataset.count_labels(index, known)
        seen.notices += notices
    except MagNetError as error:
        unreadable = dataset.unreadable_labels(index)
        seen.wrong += [("unreadable", message) for message in unreadable] or [("sizes", str(error))]
        return seen
    decoded, size = tally.found, tally.size
    try:
        seen.note = dataset.check_values(decoded)
    except MagNetError as error:
        seen.wrong.append(("labels", str(error)))
    if decoded.lossy and seen.wrong:  # what it holds would be listed as values of no class
        return seen
    seen.strange = decoded.strange
    seen.labels = image_labels(dataset, tally)
    if turned != 1:
        seen.turn = turn_note(path, turned, size, dataset.exif)[0]
    if seen.size and seen.size != size:
        seen.wrong.append(("sizes", dataset.size_mismatch(index, seen.size, size)))
        return seen
    try:
        with gathered() as notices:
            dataset.check_places(index)
        seen.notices += notices
    except MagNetError as error:
        seen.wrong.append(("places", str(error)))
    return seen


@contextlib.contextmanager
def _valid_pixels(
    dataset: LabelledFiles, index: int, seen: _Seen, valid: np.ndarray | None
) -> Iterator[ValidPixels | None]:
    """Where an image holds a value, which is read anew by window where it was looked at by parts; None: everywhere."""
    if seen.size is None or not seen.missing:
        yield None
    elif valid is not None:
        yield ValidPixels(seen.size, lambda box: valid[box[1] : box[3], box[0] : box[2]])
    else:
        with dataset.open_image(index) as raster:
            yield ValidPixels(seen.size, lambda box: raster.read_level(0, box)[1])
