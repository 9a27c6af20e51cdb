"""What ``MagNet.predict`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from magnet_kernels import confidence

__all__ = ["Prediction", "Stage"]

Box = tuple[int, int, int, int]


@dataclass
class Stage:
    """One scale of the walk, after it was refined.

    Attributes:
        scale: (H, W) of the scale.
        probabilities: (C, h, w) float32 class probabilities; (h, w) is the scale, or smaller at the first one.
        points: (K,) int64 flat indices y * W + x of the pixels replaced here; None at the first scale.
        boxes: (x0, y0, x1, y1) of the patches looked at, in pixels of the scale; empty at the first scale.
    """

    scale: tuple[int, int]
    probabilities: Tensor
    points: Tensor | None = None
    boxes: Sequence[Box] = field(default_factory=list)

    @property
    def n_patches(self) -> int:
        """How many patches were looked at."""
        return len(self.boxes)

    @property
    def uncertainty(self) -> Tensor:
        """(h, w) float32, 1 - (top-1 minus top-2 probability)."""
        return 1 - confidence(self.probabilities[None])[0, 0]

    def labels(self, size: tuple[int, int]) -> Tensor:
        """(H, W) int64 labels at ``size``, of the map resized bilinearly."""
        from magnet.walk import labels_at

        return labels_at(self.probabilities, size)

    def points_mask(self) -> Tensor:
        """(H, W) bool, True at the pixels replaced at this scale."""
        mask = torch.zeros(self.scale[0] * self.scale[1], dtype=torch.bool)
        if self.points is not None:
            mask[self.points.flatten().cpu()] = True
        return mask.view(self.scale)


@dataclass
class Prediction:
    """The segmentation of one image.

    Attributes:
        labels: (H, W) int64 class of each pixel, at the size of the image.
        probabilities: (C, h, w) float32 class probabilities, at the last scale; None where they were not asked for.
        stages: the walk scale by scale, coarse first, where it was asked for; else None.
        seconds: time it took, reading the file not included.
    """

    labels: Tensor
    probabilities: Tensor | None
    stages: list[Stage] | None
    seconds: float

    @property
    def uncertainty(self) -> Tensor:
        """(h, w) float32 at the last scale, 1 - (top-1 minus top-2 probability)."""
        if self.probabilities is None:
            raise ValueError("probabilities: expected a map, got None; call predict without probabilities=False")
        return 1 - confidence(self.probabilities[None])[0, 0]
