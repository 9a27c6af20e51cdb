"""What one scale of the walk leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from magnet.walk.grid import Box
from magnet.walk.maps import labels_at
from magnet_kernels import confidence

__all__ = ["Stage", "WalkStage"]


@dataclass
class Stage:
    """One scale of the walk over one image, after it was refined.

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
        return labels_at(self.probabilities, size)

    def points_mask(self) -> Tensor:
        """(H, W) bool, True at the pixels replaced at this scale."""
        mask = torch.zeros(self.scale[0] * self.scale[1], dtype=torch.bool)
        if self.points is not None:
            mask[self.points.flatten().cpu()] = True
        return mask.view(self.scale)


@dataclass(frozen=True)
class WalkStage:
    """One scale of the walk over N images of one size, after it was refined. The walk keeps none but the newest.

    Attributes:
        scale: (H, W) of the scale.
        maps: (N, C, h, w) float32 class probabilities; None where labels alone were made.
        labels: (N, H, W) uint8, where labels alone were made.
        points: (N, K) int64 flat indices y * W + x of the pixels replaced, those of fewer filled up with -1; None at
            the first scale.
        boxes: (N, P, 5) image, x0, y0, x1, y1 of the patches looked at, in pixels of the scale; None at the first.
    """

    scale: tuple[int, int]
    maps: Tensor | None
    labels: Tensor | None = None
    points: Tensor | None = None
    boxes: Tensor | None = None

    @property
    def looks(self) -> int:
        """How often the segmenter looked at this scale."""
        if self.boxes is None:
            found = self.maps if self.maps is not None else self.labels
            assert found is not None
            return len(found)
        return self.boxes.shape[0] * self.boxes.shape[1]

    def of(self, number: int) -> Stage:
        """The stage of one image.

        Raises:
            ValueError: labels alone were made.
        """
        if self.maps is None:
            raise ValueError("maps: expected probabilities, got labels alone; walk without labels_only")
        points = None if self.points is None else self.points[number]
        boxes: list[Box] = []
        if self.boxes is not None:
            boxes = [(int(x0), int(y0), int(x1), int(y1)) for _, x0, y0, x1, y1 in self.boxes[number].tolist()]
        return Stage(self.scale, self.maps[number], None if points is None else points[points >= 0], boxes)
