"""Whether labels can be meant as they are: each value is legal, and yet a class has no pixel, or most are ignored.

What is certainly wrong is an error that names the setting which mends it, and the one which declares it meant
(``data.accept``); what may be right is a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labels import IN_YAML, mapping_of

__all__ = ["MANY_IGNORED", "SOME_IGNORED", "ImageLabels", "LabelCounts", "Verdict", "judge_scored", "judge_trained"]

# shares of a split's pixels that hold 255 though nothing says that it is ignored. Borders and what is left out of
# street scenes take a tenth; where a class is written as 255, or most of a picture was not labelled, it is more.
SOME_IGNORED = 0.05
MANY_IGNORED = 0.2
_SHOWN = 8


@dataclass
class ImageLabels:
    """What the labels of one image hold.

    Args:
        classes: (256,) pixels of each class id, 255 = ignored.
        values: (256,) pixels of each value of the file; None where it holds colours, or votes.
        undeclared: whether 255 is ignored without anything that says so.
    """

    classes: np.ndarray
    values: np.ndarray | None
    undeclared: bool


@dataclass
class LabelCounts:
    """What the labels of a split hold, as values for JSON.

    Args:
        class_names: name of each class.
        pixels: pixels of each class.
        images_with: images that hold each class.
        ignored: pixels that are ignored.
        undeclared: those of them that are 255 where nothing says that it is ignored.
        beside: images that hold such pixels and each class.
        values: values of the label files, ascending; empty where they hold colours.
    """

    class_names: list[str]
    pixels: list[int]
    images_with: list[int]
    ignored: int
    undeclared: int
    beside: list[int]
    values: list[int]

    @classmethod
    def of(cls, class_names: Sequence[str], images: Iterable[ImageLabels]) -> LabelCounts:
        """The sum over images."""
        known = len(class_names)
        total, values = np.zeros(256, np.int64), np.zeros(256, np.int64)
        images_with, beside = np.zeros(256, np.int64), np.zeros(256, np.int64)
        undeclared, all_values = 0, True
        for image in images:
            total += image.classes
            images_with += image.classes > 0
            if image.values is None:
                all_values = False
                continue
            values += image.values
            if image.undeclared and image.values[IGNORE_INDEX]:
                undeclared += int(image.values[IGNORE_INDEX])
                beside += image.classes > 0
        return cls(
            class_names=list(class_names),
            pixels=total[:known].tolist(),
            images_with=images_with[:known].tolist(),
            ignored=int(total[IGNORE_INDEX]),
            undeclared=undeclared,
            beside=beside[:known].tolist(),
            values=np.flatnonzero(values).tolist() if all_values else [],
        )

    def any(self) -> bool:
        """Whether a pixel was counted at all."""
        return bool(sum(self.pixels) + self.ignored)

    def __add__(self, other: LabelCounts) -> LabelCounts:
        def both(a: list[int], b: list[int]) -> list[int]:
            return [x + y for x, y in zip(a, b, strict=True)]

        return LabelCounts(
            class_names=self.class_names,
            pixels=both(self.pixels, other.pixels),
            images_with=both(self.images_with, other.images_with),
            ignored=self.ignored + other.ignored,
            undeclared=self.undeclared + other.undeclared,
            beside=both(self.beside, other.beside),
            values=sorted({*self.values, *other.values}),
        )


@dataclass
class Verdict:
    """wrong: messages of errors; doubtful: messages of what may be meant."""

    wrong: list[str]
    doubtful: list[str]


def judge_trained(counts: LabelCounts, accept: Collection[str] = ()) -> Verdict:
    """What is to be said of labels to train on. ``accept``: as ``DataConfig.accept``."""
    if not sum(counts.pixels):
        return Verdict(
            [
                "data: no pixel of the training labels is of a class: there is nothing to learn"
                f"{_values(counts)}{_mapping(counts)}"
            ],
            [],
        )
    verdict = Verdict([], [])
    absent = [i for i, pixels in enumerate(counts.pixels) if not pixels]
    if absent and "absent" not in accept:
        verdict.wrong.append(
            f"data: no pixel of the training labels is of class {_listed(counts, absent)}, so the model cannot learn it"
            f"{_values(counts)}{_mapping(counts)}; mend the labels or the list of classes, or, if that is meant, set "
            "data.accept: [absent]"
        )
    _judge_ignored(counts, "training", verdict, absent)
    return verdict


def judge_scored(counts: LabelCounts, split: str, reason: str = "") -> Verdict:
    """What is to be said of labels to compare predictions with: those of ``split``; ``reason`` why it may have none."""
    if not sum(counts.pixels):
        told = f"data: no pixel of the split '{split}' is of a class: there is nothing to compare with"
        return Verdict([f"{told}; {reason}" if reason else f"{told}{_values(counts)}{_mapping(counts)}"], [])
    verdict = Verdict([], [])
    present = [i for i, pixels in enumerate(counts.pixels) if pixels]
    if len(present) == 1:
        told = (
            f"data: the labels of the split '{split}' are all of one class, {_listed(counts, present)}, so its scores "
            f"say nothing{_values(counts)}"
        )
        if counts.undeclared:
            verdict.wrong.append(f"{told}{_mapping(counts) or _declare()}")
        else:
            verdict.doubtful.append(told)
    absent = [i for i, pixels in enumerate(counts.pixels) if not pixels]
    _judge_ignored(counts, split, verdict, absent)
    return verdict


def _judge_ignored(counts: LabelCounts, split: str, verdict: Verdict, absent: Sequence[int]) -> None:
    share = counts.undeclared / (sum(counts.pixels) + counts.ignored)
    told = f"data: {share:.0%} of the pixels of the {split} labels are 255, which is ignored, but nothing declares it"
    if share > MANY_IGNORED:
        verdict.wrong.append(f"{told}{_mapping(counts) if absent else ''}{_declare()}")
        return
    if share > SOME_IGNORED:
        verdict.doubtful.append(f"{told}{_declare()}")
    # some masks written as 0 and 255, others as 0 and 1
    if len(counts.pixels) == 2 and not absent and counts.beside[0] and not counts.beside[1]:
        verdict.doubtful.append(
            f"data: no {split} label file holds both 255, which is ignored, and class 1 ({counts.class_names[1]}): if "
            "255 is that class in some of the files, write them anew, or map it: `mapping: {0: 0, 1: 1, 255: 1}` "
            f"{IN_YAML}"
        )


def _listed(counts: LabelCounts, numbers: Sequence[int]) -> str:
    shown = ", ".join(f"{i} ({counts.class_names[i]})" for i in numbers[:_SHOWN])
    return shown + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")


def _values(counts: LabelCounts) -> str:
    if not counts.values:
        return ""
    shown = ", ".join(map(str, counts.values[:_SHOWN])) + (", ..." if len(counts.values) > _SHOWN else "")
    if counts.values == [0]:
        return "; every label pixel is 0, as after a division by 255: write the labels anew, pixel = class id"
    if counts.values == [IGNORE_INDEX]:
        return f"; every pixel is {IGNORE_INDEX} (ignored)"
    return f"; the label files hold the values {shown}" + (", and 255 is ignored" if counts.undeclared else "")


def _mapping(counts: LabelCounts) -> str:
    """The mapping that would give each class its pixels, if there is one."""
    mapping = mapping_of(counts.values, len(counts.pixels)) if IGNORE_INDEX in counts.values else ""
    return f"; if they are the classes, map them: {mapping} {IN_YAML}" if mapping else ""


def _declare() -> str:
    return (
        "; if that is meant, declare it: a line '255 ignore' in classes.txt, `ignore: [255]` in YAML, or data.accept: "
        "[ignored]"
    )
