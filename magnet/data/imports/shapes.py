"""Outlines and runs as label maps: shapes drawn over each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from magnet.bounds import Box, Size
from magnet.images.wanted.polygon_fill import PolygonFill

__all__ = ["Drawing", "Order", "Outline", "Runs", "Shape", "read_runs"]

Order = Literal["smaller", "later"]


class Shape(Protocol):
    """An object: its class, its area in pixels, and the box that holds it."""

    number: int

    @property
    def area(self) -> float: ...

    @property
    def bounds(self) -> Box: ...

    def read(self, box: Box) -> np.ndarray:
        """(y1 - y0, x1 - x0) bool: the pixels of ``box`` (x0, y0, x1, y1) that it holds."""
        ...


class Outline:
    """Polygons: each holds the pixels whose centres lie in an odd number of its rings.

    Args:
        number: of the class.
        polygons: of each its rings, (n, 2) corners in pixels from the upper left corner of the image; the last corner
            need not be the first again.
    """

    def __init__(self, number: int, polygons: Sequence[Sequence[np.ndarray]]) -> None:
        self.number = number
        closed = [[np.concatenate([ring, ring[:1]]) for ring in rings] for rings in polygons]
        rings = [ring for polygon in closed for ring in polygon]
        corners = np.concatenate(rings).astype(np.float64)
        self._fill = PolygonFill(corners, [len(ring) for ring in rings], [len(polygon) for polygon in closed])
        self.area = sum(abs(_area(polygon[0])) - sum(abs(_area(hole)) for hole in polygon[1:]) for polygon in closed)
        (x0, y0), (x1, y1) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        self.bounds = (int(x0), int(y0), int(x1), int(y1))

    def read(self, box: Box) -> np.ndarray:
        return self._fill.read(box)


class Runs:
    """A mask as run lengths, column after column, of pixels outside and inside in turn (COCO's RLE).

    Args:
        number: of the class.
        size: (H, W).
        counts: the lengths, which make up H * W.

    Raises:
        ValueError: they do not.
    """

    def __init__(self, number: int, size: Size, counts: np.ndarray) -> None:
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != size[0] * size[1]:
            told = "negative ones" if counts.ndim == 1 and (counts < 0).any() else int(counts.sum())
            raise ValueError(f"runs of {size[0] * size[1]} pixels, got {told}")
        self.number, self._size, self._counts = number, size, counts
        self.area = float(counts[1::2].sum())
        self.bounds = (0, 0, size[1], size[0])

    def read(self, box: Box) -> np.ndarray:
        x0, y0, x1, y1 = box
        inside = np.arange(len(self._counts)) % 2 == 1
        return np.repeat(inside, self._counts).reshape(self._size[::-1]).T[y0:y1, x0:x1]


def read_runs(text: str) -> np.ndarray:
    """The lengths of a compressed RLE.

    Each number is written in groups of five bits, the lowest first, as letters from "0"; the sixth bit says that more
    follow, the highest bit of the last group is the sign. From the fourth number on it is the difference to the one
    two before.

    Raises:
        ValueError: the text is none.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        group = letter - 48
        if not 0 <= group < 64 or shift > 50:
            raise ValueError(f"letters of a compressed RLE, got {chr(letter)!r}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a compressed RLE that ends with a whole number")
    return np.array(counts, np.int64)


class Drawing:
    """Shapes as a label map, read by window (``Blocks``).

    Args:
        size: (H, W).
        shapes: in the order of the source.
        background: class of pixels that no shape holds.
        order: which of two that overlap is on top: the "smaller", of equal ones the later; or the "later".
    """

    def __init__(self, size: Size, shapes: Sequence[Shape], background: int, order: Order) -> None:
        self.size, self._background = size, background
        self._shapes = sorted(shapes, key=lambda shape: -shape.area) if order == "smaller" else list(shapes)

    def read(self, box: Box) -> np.ndarray:
        return self.draw(box)[0]

    def draw(self, box: Box) -> tuple[np.ndarray, int]:
        """Labels (y1 - y0, x1 - x0) uint8 of ``box`` (x0, y0, x1, y1), and how many pixels of a shape another one of
        another class was drawn over."""
        x0, y0, x1, y1 = box
        labels = np.full((y1 - y0, x1 - x0), self._background, np.uint8)
        drawn = np.zeros(labels.shape, bool)
        contested = np.zeros(labels.shape, bool)
        for shape in self._shapes:
            left, top, right, bottom = shape.bounds
            left, top, right, bottom = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
            if left >= right or top >= bottom:
                continue
            at = slice(top - y0, bottom - y0), slice(left - x0, right - x0)
            held = shape.read((left, top, right, bottom))
            contested[at] |= held & drawn[at] & (labels[at] != shape.number)
            labels[at][held] = shape.number
            drawn[at] |= held
        return labels, int(contested.sum())


def _area(ring: np.ndarray) -> float:
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2
