"""refine_step: score, median, selection and replacement, in eight launches after one that clears the workspace.

1 score, with upsampling, softmax, mask and the copy of coarse; 2 median, as keys, and counts of their first digit;
3 to 5 the other digits of the K-th highest key; 6 and 7 where each block's points go; 8 points and replacement.
"""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference import refine_step as reference
from magnet_kernels.reference.refine_step import map_format
from magnet_kernels.triton.launch import MOST_PIXELS
from magnet_kernels.triton.select_points import Selection
from magnet_kernels.triton.uncertainty_score import launch_score
from magnet_kernels.triton.upsample_confidence import can_upsample


def _can_run(coarse: Tensor, fine: Tensor) -> bool:
    height, width = fine.shape[2:]
    return height * width < MOST_PIXELS and can_upsample(coarse, height, width)


def refine_into(
    out: Tensor | None,
    coarse: Tensor,
    fine: Tensor,
    mask: Tensor | None,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> Tensor:
    """Into ``out``, or into ``coarse`` where that is None; returns the points."""
    n, _, height, width = fine.shape
    points = fine.new_empty((n, n_points), dtype=torch.int64)
    if n * height * width == 0 or (n_points == 0 and out is None):
        return points
    score = fine.new_empty((n, 1, height, width), dtype=torch.float32)
    selection = Selection(fine, (n, height, width), n_points) if n_points else None
    launch_score(coarse, fine, mask, score, from_logits, copy=out)
    if selection is None:
        return points
    selection.put_medians(score, kernel_size, mask)
    return selection.list(mask is not None, fine, coarse if out is None else out)


def refine_step(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> tuple[Tensor, Tensor]:
    """(N, C, h, w), (N, C, H, W) with h <= H and w <= W -> refined (N, C, H, W), points (N, K)."""
    if not _can_run(coarse, fine):
        return reference.refine_step(coarse, fine, mask, n_points, kernel_size, from_logits)
    if coarse.shape == fine.shape:
        refined = torch.empty_like(coarse)
    else:
        refined = torch.empty(fine.shape, dtype=coarse.dtype, device=coarse.device, memory_format=map_format(coarse))
    return refined, refine_into(refined, coarse, fine, mask, n_points, kernel_size, from_logits)


def refine_step_(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> Tensor:
    """In place; returns the points."""
    if not _can_run(coarse, fine):
        return reference.refine_step_(coarse, fine, mask, n_points, kernel_size, from_logits)
    return refine_into(None, coarse, fine, mask, n_points, kernel_size, from_logits)


def refine_step_out(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool, out: Tensor
) -> Tensor:
    """Into ``out`` (N, C, H, W); returns the points."""
    if not _can_run(coarse, fine):
        return reference.refine_step_out(coarse, fine, mask, n_points, kernel_size, from_logits, out)
    return refine_into(out, coarse, fine, mask, n_points, kernel_size, from_logits)
