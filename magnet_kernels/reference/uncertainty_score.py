"""uncertainty_score: high where coarse is unsure and fine is sure."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference.confidence import confidence
from magnet_kernels.reference.median_blur import median_blur


def raw_score(coarse: Tensor, fine: Tensor, mask: Tensor | None, from_logits: bool) -> Tensor:
    """(1 - confidence(coarse)) * confidence(fine), before the median; 0 outside ``mask`` and where not a number.

    No zero has a sign, although the first factor may be negative.
    """
    score = (1 - confidence(coarse, from_logits)) * confidence(fine, from_logits)
    score = torch.where(score.isnan(), 0.0, score + 0.0)  # -0 + 0 is 0
    return score if mask is None else torch.where(mask, score, 0.0)


def uncertainty_score(
    coarse: Tensor, fine: Tensor, mask: Tensor | None = None, kernel_size: int = 3, from_logits: bool = False
) -> Tensor:
    """(N, C, H, W) twice, mask (N, 1, H, W) -> (N, 1, H, W) float32."""
    return median_blur(raw_score(coarse, fine, mask, from_logits), kernel_size)
