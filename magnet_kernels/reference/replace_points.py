"""replace_points: the values of fine at the points, of coarse elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor


def point_mask(points: Tensor, height: int, width: int) -> Tensor:
    """(N, K) flat indices, -1 for none -> (N, 1, H, W) bool, True at the points."""
    total = height * width
    chosen = points.new_zeros((points.shape[0], total + 1), dtype=torch.bool)
    chosen.scatter_(1, points.masked_fill(points < 0, total), True)
    return chosen[:, :total].view(points.shape[0], 1, height, width)


def _check_range(points: Tensor, total: int) -> None:
    outside = (points < -1) | (points >= total)
    if not torch.compiler.is_compiling() and bool(outside.any()):
        raise IndexError(
            f"points: expected flat indices from -1 to {total - 1}, got {int(points[outside][0])}; they count y * W + x"
        )


def replace_points(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    """(N, C, H, W) twice, (N, K) -> (N, C, H, W) in the layout of ``coarse``."""
    _check_range(points, coarse.shape[2] * coarse.shape[3])
    refined = torch.where(point_mask(points, *coarse.shape[2:]), fine, coarse)
    return torch.empty_like(coarse).copy_(refined)


def replace_points_(coarse: Tensor, fine: Tensor, points: Tensor) -> None:
    """In place; pixels that are not chosen keep their values."""
    coarse.copy_(replace_points(coarse, fine, points))
