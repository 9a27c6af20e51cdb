"""select_points: the K highest scores of each image, ties to the lowest index, in ascending order."""

from __future__ import annotations

from torch import Tensor

from magnet_kernels.reference.keys import order_keys


def select_points(score: Tensor, mask: Tensor | None, n_points: int) -> Tensor:
    """(N, 1, H, W), mask (N, 1, H, W) -> (N, K) int64 flat indices; rows end in -1 where valid pixels run out."""
    score = score.detach()
    score = score.masked_fill(score == 0, 0.0)  # -0 equals 0
    keys = order_keys(score).flatten(1)
    order = keys.sort(dim=1, descending=True, stable=True).indices
    if mask is None:
        return order[:, :n_points].sort(dim=1).values
    invalid = ~mask.flatten(1)
    last = invalid.gather(1, order).int().sort(dim=1, stable=True).indices  # valid pixels first, each part in order
    order = order.gather(1, last)[:, :n_points]
    total = keys.shape[1]
    order = order.masked_fill(invalid.gather(1, order), total).sort(dim=1).values
    return order.masked_fill(order == total, -1)
