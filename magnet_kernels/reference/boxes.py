"""Boxes (image index, x0, y0, x1, y1) as the operators on patches read them."""

from __future__ import annotations

from torch import Tensor


def rounded_boxes(boxes: Tensor) -> list[list[int]]:
    """(P, 5) -> [image, x0, y0, x1, y1] in whole pixels, halves to even."""
    return boxes.detach().double().round().long().tolist()


def clipped_slices(box: list[int], height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns of a rounded box that lie in the map; empty ones where none do."""
    _, x0, y0, x1, y1 = box
    rows = slice(min(max(y0, 0), height), min(max(y1, 0), height))
    columns = slice(min(max(x0, 0), width), min(max(x1, 0), width))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return slice(0, 0), slice(0, 0)
    return rows, columns
