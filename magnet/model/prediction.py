"""What ``MagNet.predict`` returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from magnet.walk.grid import Box
from magnet.walk.stage import Stage
from magnet_kernels import confidence

__all__ = ["Prediction"]

_WINDOW_VALUES = 1 << 24  # probabilities made at a time: 64 MB


@dataclass
class Prediction:
    """The segmentation of one image.

    Attributes:
        labels: (H, W) int64 class of each pixel, at the size of the image; of a file past Pillow's size limit at the
            last scale, as labels of all its pixels may not fit into memory (see :meth:`labels_in`).
        probabilities: (C, h, w) float32 class probabilities, at the last scale; None where they were not asked for.
        stages: the walk scale by scale, coarse first, where it was asked for; else None.
        seconds: time it took, reading the file not included.
        image_size: (H, W) of the image, or of the file.
    """

    labels: Tensor
    probabilities: Tensor | None
    stages: list[Stage] | None
    seconds: float
    image_size: tuple[int, int]

    def labels_in(self, box: Box) -> Tensor:
        """(y1 - y0, x1 - x0) int64 labels of a window (x0, y0, x1, y1) of the image, in its own pixels.

        As ``labels`` where they have the size of the image; else made for this window alone, from the probabilities
        resized bilinearly, so that labels of an image of any size can be worked on piece by piece.

        Raises:
            ValueError: the box is empty or not within the image, or the probabilities were not kept.
        """
        x0, y0, x1, y1 = box
        height, width = self.image_size
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"box: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, got {tuple(box)}")
        if tuple(self.labels.shape) == self.image_size:
            return self.labels[y0:y1, x0:x1]
        maps = self._kept()
        top, bottom, y = _taps(maps.shape[1], height, y0, y1, maps.device)
        left, right, x = _taps(maps.shape[2], width, x0, x1, maps.device)
        labels = torch.empty(y1 - y0, x1 - x0, dtype=torch.int64, device=maps.device)
        count = max(_WINDOW_VALUES // (maps.shape[0] * max(x1 - x0, maps.shape[2])), 1)
        for first in range(0, y1 - y0, count):
            rows = slice(first, first + count)
            strip = torch.lerp(maps[:, top[rows]], maps[:, bottom[rows]], y[rows, None])
            labels[rows] = torch.lerp(strip[..., left], strip[..., right], x).max(dim=0).indices
        return labels

    def _kept(self) -> Tensor:
        if self.probabilities is None:
            raise ValueError("probabilities: expected a map, got None; call predict without probabilities=False")
        return self.probabilities

    @property
    def uncertainty(self) -> Tensor:
        """(h, w) float32 at the last scale, 1 - (top-1 minus top-2 probability)."""
        return 1 - confidence(self._kept()[None])[0, 0]


def _taps(source: int, target: int, first: int, end: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear resizing along one axis, for the target's pixels ``first`` to ``end``.

    Returns:
        Three tensors (end - first,): index of the source pixel before, index of the one after (int64), and the weight
        of the one after, in [0, 1] (float32); that of the one before is 1 less it.
    """
    position = (torch.arange(first, end, dtype=torch.float64, device=device) + 0.5) * (source / target) - 0.5
    position = position.clamp(0, source - 1)
    before = position.long()
    return before, (before + 1).clamp(max=source - 1), (position - before).float()
