"""Other ways to choose the points of a scale than the paper's score, for comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels import confidence, median_blur, refine_step, replace_points_, select_points, stitch_patches

__all__ = ["CHOICES", "refine_by", "refine_step_by"]

CHOICES = ("score", "uncertainty", "random")


def refine_by(
    choice: str,
    coarse: Tensor,
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
        coarse: probabilities (1, C, H, W) at the size of the scale; overwritten.
        patches: probabilities (P, C, h, w).
        boxes: (P, 5) as ``stitch_patches`` takes them.
        n_points: how many; at most the pixels that patches cover.
        kernel_size: of the median over the uncertainty.
        seed: of the random choice.

    Returns:
        refined (1, C, H, W), the memory of ``coarse``; points (1, K) int64, ascending.
    """
    if len(patches) == 0:
        return coarse, torch.empty(coarse.shape[0], 0, dtype=torch.int64, device=coarse.device)
    size = (coarse.shape[2], coarse.shape[3])
    fine, covered = stitch_patches(patches, boxes, size, batch_size=coarse.shape[0])
    score = _score(choice, coarse, covered, kernel_size, seed)
    points = select_points(score.masked_fill(~covered, -1.0), min(n_points, int(covered.sum())))
    return replace_points_(coarse, fine, points), points


def refine_step_by(
    choice: str, coarse: Tensor, fine: Tensor, *, n_points: int | float, kernel_size: int, seed: int = 0
) -> Tensor:
    """``refine_step`` with points of any choice, the paper's score among them.

    Args:
        choice: one of ``CHOICES``.
        coarse: probabilities (N, C, H, W).
        fine: probabilities (N, C, H, W) that may replace them everywhere.
        n_points: how many in each image, or the fraction of its pixels.
        kernel_size: of the median over the score.
        seed: of the random choice.

    Returns:
        refined (N, C, H, W), memory of its own.
    """
    if choice == "score":
        refined = refine_step(coarse, fine, n_points=n_points, kernel_size=kernel_size)
        assert isinstance(refined, Tensor)  # without return_points there is one
        return refined
    everywhere = torch.ones(1, 1, *coarse.shape[2:], dtype=torch.bool, device=coarse.device)
    points = select_points(_score(choice, coarse, everywhere.expand_as(coarse[:, :1]), kernel_size, seed), n_points)
    return replace_points_(coarse.clone(), fine, points)


def _score(choice: str, coarse: Tensor, covered: Tensor, kernel_size: int, seed: int) -> Tensor:
    """Scores (N, 1, H, W) by which the points of another choice than the paper's are taken."""
    if choice == "random":
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(covered.shape, generator=generator).to(coarse.device)
    return median_blur((1 - confidence(coarse)) * covered, kernel_size)
