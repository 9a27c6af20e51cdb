"""Other ways to choose the points of a scale than the paper's score, for comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels import confidence, median_blur, replace_points_, select_points, stitch_patches

__all__ = ["CHOICES", "refine_by"]

CHOICES = ("score", "uncertainty", "random")


def refine_by(
    choice: str,
    known: Tensor,
    patches: Tensor,
    boxes: Tensor,
    *,
    n_points: int,
    kernel_size: int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """``refine_stage`` with points of another choice.

    Args:
        choice: "uncertainty" takes the pixels where the coarse map is least confident, whatever the fine one says;
            "random" takes any, the same ones for the same ``seed``.
        known: probabilities (1, C, H, W) at the size of the scale; overwritten.
        patches: probabilities (P, C, h, w).
        boxes: (P, 5) as ``stitch_patches`` takes them.
        n_points: how many; at most the pixels that patches cover.
        kernel_size: of the median over the uncertainty.
        seed: of the random choice.

    Returns:
        refined (1, C, H, W), the memory of ``known``; points (1, K) int64, ascending.
    """
    if len(patches) == 0:
        return known, torch.empty(known.shape[0], 0, dtype=torch.int64, device=known.device)
    size = (known.shape[2], known.shape[3])
    fine, covered = stitch_patches(patches, boxes, size, batch_size=known.shape[0])
    if choice == "random":
        generator = torch.Generator().manual_seed(seed)
        score = torch.rand(covered.shape, generator=generator).to(known.device)
    else:
        score = median_blur((1 - confidence(known)) * covered, kernel_size)
    points = select_points(score.masked_fill(~covered, -1.0), min(n_points, int(covered.sum())))
    return replace_points_(known, fine, points), points
