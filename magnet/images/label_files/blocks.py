"""What labels of a raster are read from, a block at a time, and in which blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from magnet.bounds import Box as Box
from magnet.bounds import Size

__all__ = ["NO_ANSWER", "TILE", "Blocks", "Box", "check_same_size", "read_block", "strips", "tiles"]

NO_ANSWER = 255  # of labels: outside of the data, or not confident enough
TILE = 512
STRIP_PIXELS = 1 << 20


class Blocks(Protocol):
    """One uint8 value a pixel: class ids with 255 for no answer, or confidence with 0..255 for 0..1 (no answer: 0)."""

    @property
    def size(self) -> Size:
        """(H, W)."""

    def read(self, box: Box) -> np.ndarray:
        """The values within ``box`` (x0, y0, x1, y1) as (y1 - y0, x1 - x0) uint8."""


def read_block(blocks: Blocks, box: Box) -> np.ndarray:
    """``blocks.read(box)``, checked: a block of another size would shift all that is written after it.

    Raises:
        ValueError: it is not (y1 - y0, x1 - x0) of uint8.
    """
    block = blocks.read(box)
    x0, y0, x1, y1 = box
    if block.shape != (y1 - y0, x1 - x0) or block.dtype != np.uint8:
        raise ValueError(
            f"blocks: expected ({y1 - y0}, {x1 - x0}) uint8 for the box {box}, got {block.shape} of "
            f"{block.dtype}; return all of the box"
        )
    return block


def check_same_size(labels: Blocks, confidence: Blocks) -> None:
    """Raise ValueError unless both are of one raster."""
    if labels.size != confidence.size:
        raise ValueError(
            f"confidence: expected the size of the labels, {tuple(labels.size)}, got {tuple(confidence.size)}; give "
            "that of the same raster"
        )


def tiles(size: Size, tile: int = TILE) -> Iterator[Box]:
    """The boxes of ``tile`` x ``tile`` pixels, row after row; smaller ones at the right and at the bottom."""
    height, width = size
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            yield x, y, min(x + tile, width), min(y + tile, height)


def strips(size: Size, pixels: int = STRIP_PIXELS) -> Iterator[Box]:
    """Boxes of whole rows from the top, of at most ``pixels`` or one row."""
    height, width = size
    rows = max(1, min(pixels // width, TILE))
    for y in range(0, height, rows):
        yield 0, y, width, min(y + rows, height)
