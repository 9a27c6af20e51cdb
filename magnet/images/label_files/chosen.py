"""Labels of which some answers are left out: those that are not sure enough, or of other classes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from magnet.bounds import Size
from magnet.images.label_files.blocks import NO_ANSWER, Blocks, Box, check_same_size, read_block

__all__ = ["confident", "of_classes"]


def confident(labels: Blocks, confidence: Blocks, min_confidence: float) -> Blocks:
    """``labels``, but no answer where the confidence is below ``min_confidence``.

    The confidence is in steps of 1/255, and is compared as it is stored: a pixel at 128 (0.502) passes 0.5, one at 127
    (0.498) does not.

    Raises:
        ValueError: ``min_confidence`` is not in 0..1, or the two are not of one size.
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence: expected 0 to 1, got {min_confidence}; percent are divided by 100")
    check_same_size(labels, confidence)
    return _Confident(labels, confidence, min_confidence)


def of_classes(labels: Blocks, classes: Collection[int]) -> Blocks:
    """``labels``, but no answer where the class is not among ``classes``.

    Raises:
        ValueError: no classes, or not 0..254.
    """
    if not classes or not all(0 <= one < NO_ANSWER for one in classes):
        raise ValueError(f"classes: expected some of 0..{NO_ANSWER - 1}, got {sorted(classes)}; name those to keep")
    return _OfClasses(labels, classes)


class _Confident:
    def __init__(self, labels: Blocks, confidence: Blocks, min_confidence: float) -> None:
        self.size: Size = labels.size
        self._labels, self._confidence = labels, confidence
        # divided in double precision, as a user would: 0.2 asks for 51 or more, which is 51 / 255
        self._passes = np.arange(256) / 255 >= min_confidence

    def read(self, box: Box) -> np.ndarray:
        passes = self._passes[read_block(self._confidence, box)]
        return np.where(passes, read_block(self._labels, box), np.uint8(NO_ANSWER))


class _OfClasses:
    def __init__(self, labels: Blocks, classes: Collection[int]) -> None:
        self.size: Size = labels.size
        self._labels = labels
        self._table = np.full(256, NO_ANSWER, np.uint8)
        self._table[list(classes)] = list(classes)

    def read(self, box: Box) -> np.ndarray:
        return self._table[read_block(self._labels, box)]
