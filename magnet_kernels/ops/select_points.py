"""select_points: the K highest scores of each image, ties to the lowest index, in ascending order."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library
from magnet_kernels.reference import select_points as reference


def select_points(score: Tensor, n_points: int | float, *, mask: Tensor | None = None, backend: str = "auto") -> Tensor:
    """Flat indices (y * W + x) of the K highest scores of each image, exact and deterministic.

    Args:
        score: (N, 1, H, W), any floats: NaN ranks below -inf, -0 equals 0.
        n_points: an int is a count (capped at H*W), a float in (0, 1] a fraction of H*W, rounded down.
        mask: bool (N, 1, H, W), (N, H, W) or (H, W), N may be 1; pixels where it is False are never chosen.
        backend: "auto", or a backend's name to force it.

    Returns:
        (N, K) int64, ascending; of equal scores the lowest index is chosen. Where an image has fewer than K valid
        pixels its row ends in -1. The choice carries no gradient.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """
    _checks.check_score(score)
    mask = _checks.check_mask(mask, score)
    count = _checks.count_points(n_points, score.shape[2], score.shape[3])
    return _backends.choose("select_points", backend, score.device, _select_points)(score, mask, count)


def _fake(score: Tensor, mask: Tensor | None, n_points: int) -> Tensor:
    return score.new_empty((score.shape[0], n_points), dtype=torch.int64)


_select_points = _library.define(
    "select_points(Tensor score, Tensor? mask, SymInt n_points) -> Tensor",
    reference=reference.select_points,
    fake=_fake,
)
_backends.register_reference("select_points", reference.select_points)
