"""Pixels counted for every figure, on the device, and the figures made of the counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Box, Size
from magnet.data import IGNORE_INDEX
from magnet.evaluation.boundary import boundary_counts, boundary_iou_per_class, boundary_pixels, boundary_region
from magnet.evaluation.metrics import (
    accuracy_per_class,
    frequency_weighted_iou,
    iou_per_class,
    mean_class_accuracy,
    mean_iou,
    official_mean_iou,
    pair_counts,
    pixel_accuracy,
)
from magnet.images.label_files.blocks import NO_ANSWER, Blocks, tiles

__all__ = ["Scorer", "boundary_of", "confusion_of", "figures", "is_bad", "official_classes", "percent"]


_WINDOW = 2048  # pixels along a side, counted at a time; a margin comes around it


class Scorer:
    """Counts the predictions of one image after the other, without waiting for the device.

    Counts are one int64 vector: the confusion matrix (C * C), the pixels outside of the classes (1), and the boundary
    regions (3 * C); add them up over images.

    Args:
        num_classes: number of classes C, at most 255.
        boundary_width: pixels (int) or fraction of the diagonal (float); 0: no boundary regions.
        device: where the predictions are.
    """

    def __init__(self, num_classes: int, boundary_width: float, device: torch.device) -> None:
        self.num_classes, self.boundary_width, self.device = num_classes, boundary_width, device
        self._target = self._region = torch.empty(0)
        self._d = 0

    @property
    def length(self) -> int:
        """How many numbers the vector of counts has: C * C + 1 + 3 * C."""
        return self.num_classes**2 + 1 + 3 * self.num_classes

    def set_target(self, labels: np.ndarray) -> None:
        """The labels (H, W) uint8 that the next predictions are compared with."""
        self._target = torch.from_numpy(np.ascontiguousarray(labels)).to(self.device)
        if self.boundary_width:
            self._d = boundary_pixels(self.boundary_width, (labels.shape[0], labels.shape[1]))
            self._region = boundary_region(self._target, self._d, IGNORE_INDEX)

    def count(self, predicted: Tensor) -> Tensor:
        """Counts of a prediction (H, W) uint8."""
        counts = predicted.new_zeros(self.length, dtype=torch.int64)
        square = self.num_classes**2
        counts[: square + 1] = pair_counts(predicted, self._target, self.num_classes, IGNORE_INDEX)
        if self.boundary_width:
            counts[square + 1 :] = boundary_counts(
                predicted, self._target, self.num_classes, self._d, self._region, IGNORE_INDEX
            ).flatten()
        return counts

    def count_windows(self, size: Size, target: Callable[[Box], np.ndarray], predicted: Blocks) -> Tensor:
        """Counts of a prediction that is read by window, the same as of the whole, in memory of a window.

        Args:
            size: (H, W) of both.
            target: the labels within a box (x0, y0, x1, y1), uint8.
            predicted: 255 where there is no answer, as the image holds no value: such pixels do not count.
        """
        square, height, width = self.num_classes**2, *size
        d = boundary_pixels(self.boundary_width, size) if self.boundary_width else 0
        counts = torch.zeros(self.length, dtype=torch.int64, device=self.device)
        for x0, y0, x1, y1 in tiles(size, _WINDOW):
            box = max(x0 - d, 0), max(y0 - d, 0), min(x1 + d, width), min(y1 + d, height)
            found = predicted.read(box)
            known = np.where(found == NO_ANSWER, np.uint8(IGNORE_INDEX), target(box))
            inside = slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])
            if (known[inside] == IGNORE_INDEX).all():  # most of a raster may hold no value
                continue
            labels, answers = (torch.from_numpy(values).to(self.device) for values in (known, found))
            counts[: square + 1] += pair_counts(answers[inside], labels[inside], self.num_classes, IGNORE_INDEX)
            if d:
                border = box[1] == 0, box[3] == height, box[0] == 0, box[2] == width
                region = boundary_region(labels, d, IGNORE_INDEX, border)
                counts[square + 1 :] += boundary_counts(
                    answers, labels, self.num_classes, d, region, IGNORE_INDEX, border, inside
                ).flatten()
        return counts


def confusion_of(counts: Tensor, num_classes: int) -> Tensor:
    """(C, C) int64, rows are labels."""
    return counts[: num_classes**2].view(num_classes, num_classes)


def boundary_of(counts: Tensor, num_classes: int) -> Tensor:
    """(3, C) int64: see ``magnet.evaluation.boundary.boundary_counts``."""
    return counts[num_classes**2 + 1 :].view(3, num_classes)


def is_bad(counts: Tensor, num_classes: int) -> bool:
    """Whether labels or predictions lay outside of the classes."""
    return bool(counts[num_classes**2] > 0)


def percent(value: float) -> float | None:
    """In percent, rounded; None where there was nothing to count."""
    return None if math.isnan(value) else round(value * 100, 3)


def official_classes(class_names: Sequence[str]) -> list[int]:
    """The classes that the public release takes the mean over: all but a first one called "unknown" (DeepGlobe)."""
    skipped = 1 if class_names and class_names[0].lower() == "unknown" else 0
    return list(range(skipped, len(class_names)))


def figures(counts: Tensor, class_names: Sequence[str], boundary: bool) -> dict[str, Any]:
    """Every figure of summed counts, in percent; None where there is nothing to count."""
    classes = len(class_names)
    confusion = confusion_of(counts, classes)
    outline = boundary_iou_per_class(boundary_of(counts, classes)) if boundary else torch.full((classes,), math.nan)

    def named(values: Tensor) -> dict[str, float | None]:
        return {name: percent(value) for name, value in zip(class_names, values.tolist(), strict=True)}

    return {
        "mean_iou": percent(mean_iou(confusion)),
        "frequency_weighted_iou": percent(frequency_weighted_iou(confusion)),
        "boundary_iou": percent(outline.nanmean().item()),
        "pixel_accuracy": percent(pixel_accuracy(confusion)),
        "mean_class_accuracy": percent(mean_class_accuracy(confusion)),
        "official_mean_iou": percent(official_mean_iou(confusion, official_classes(class_names))),
        "iou": named(iou_per_class(confusion)),
        "boundary_iou_per_class": named(outline),
        "class_accuracy": named(accuracy_per_class(confusion)),
    }
