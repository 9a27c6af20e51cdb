"""Where patches are cut at a scale."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from magnet.bounds import Box as Box


def patch_starts(size: int, patch: int, *, flush: bool = True) -> list[int]:
    """First pixel of each patch along one side of ``size`` pixels: the fewest patches that cover it, evenly spread.

    Args:
        size: length of the side.
        patch: length of a patch, at most ``size``.
        flush: let the last patch end at the border and leave no gap. Without it, the step's truncation to whole
            pixels can leave the last few pixels uncovered, as in the public release.
    """
    count = ceil(size / patch)
    step = int(patch - (count * patch - size) / max(count - 1, 1))
    starts = [i * step for i in range(count)]
    if not flush:
        return starts
    # no patch starts so early that those after it could not reach the border
    return [max(start, size - (count - i) * patch) for i, start in enumerate(starts)]


def patch_grid(size: tuple[int, int], patch_size: tuple[int, int], *, flush: bool = True) -> list[Box]:
    """Boxes (x0, y0, x1, y1) in pixels of the patches that cover a map, column by column from the top left.

    Args:
        size: (H, W) of the map.
        patch_size: (H, W) of a patch, no larger than the map.
        flush: as for :func:`patch_starts`; False is the grid of the public release.

    Raises:
        ValueError: a size is not positive, or the patch is larger than the map.
    """
    (height, width), (ph, pw) = size, patch_size
    if not (1 <= ph <= height and 1 <= pw <= width):
        raise ValueError(
            f"patch_size: expected a patch (H, W) that fits into {tuple(size)}, got {tuple(patch_size)}; "
            "use a smaller patch or a larger scale"
        )
    columns, rows = patch_starts(width, pw, flush=flush), patch_starts(height, ph, flush=flush)
    return [(x, y, x + pw, y + ph) for x in columns for y in rows]


def count_grid(size: tuple[int, int], patch_size: tuple[int, int]) -> int:
    """How many patches :func:`patch_grid` gives."""
    return ceil(size[0] / patch_size[0]) * ceil(size[1] / patch_size[1])


def count_covered(boxes: Sequence[Box]) -> int:
    """How many pixels lie in at least one of the boxes."""
    xs, ys = (sorted({v for box in boxes for v in (box[axis], box[axis + 2])}) for axis in (0, 1))
    cells: set[tuple[int, int]] = set()  # between all edges
    for x0, y0, x1, y1 in boxes:
        rows, columns = range(ys.index(y0), ys.index(y1)), range(xs.index(x0), xs.index(x1))
        cells.update((row, column) for row in rows for column in columns)
    return sum((ys[row + 1] - ys[row]) * (xs[column + 1] - xs[column]) for row, column in cells)


def as_boxes(boxes: Sequence[tuple[float, float, float, float]], device: torch.device | str = "cpu") -> Tensor:
    """(P, 5) float32 boxes of image 0, as the patch operators take them."""
    return torch.tensor([(0, *box) for box in boxes], dtype=torch.float32, device=device).reshape(-1, 5)
