"""Labels as block sources, for tests of what writes them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class Stopped(BaseException):
    """As an interrupt: nothing catches it on its way."""


@dataclass
class ArrayBlocks:
    """An array, and which boxes of it were asked for; reading stops the program after ``most`` of them."""

    array: np.ndarray
    most: int = 1 << 30
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    def read(self, box: tuple[int, int, int, int]) -> np.ndarray:
        self.boxes.append(box)
        if len(self.boxes) > self.most:
            raise Stopped
        x0, y0, x1, y1 = box
        return self.array[y0:y1, x0:x1]

    @property
    def largest(self) -> int:
        """Pixels of the largest box."""
        return max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.boxes)


def blobs(size: tuple[int, int], classes: int = 4, cell: int = 40, seed: int = 0) -> np.ndarray:
    """(H, W) uint8: regions of some ``cell`` pixels with ragged edges, the last class being 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(classes, size[0] // cell + 2, size[1] // cell + 2))
    y, x = np.arange(size[0]) / cell, np.arange(size[1]) / cell
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top)[:, None], (x - left)[None]
    upper = coarse[:, top][:, :, left] * (1 - right) + coarse[:, top][:, :, left + 1] * right
    lower = coarse[:, top + 1][:, :, left] * (1 - right) + coarse[:, top + 1][:, :, left + 1] * right
    values = upper * (1 - down) + lower * down + rng.normal(size=(classes, *size)) * 0.05
    labels = values.argmax(0).astype(np.uint8)
    labels[labels == classes - 1] = 255
    return labels
