"""Losses for training segmenters and refinement modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def _check(logits: Tensor, target: Tensor, ignore_index: int, weight: Tensor | None) -> Tensor:
    """Check shapes and labels; return the bool mask (N, H, W) of the pixels that count."""
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(f"logits: expected floats (N, C, H, W), got {logits.dtype} of shape {tuple(logits.shape)}")
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(
            f"target: expected labels of shape {expected} to go with logits {tuple(logits.shape)}, "
            f"got {tuple(target.shape)}; resize the logits to the labels, or the labels (nearest) to the logits"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target: expected integer labels, got {target.dtype}; convert with .long()")
    num_classes = logits.shape[1]
    if weight is not None and tuple(weight.shape) != (num_classes,):
        raise ValueError(f"weight: expected one weight for each of {num_classes} classes, got {tuple(weight.shape)}")
    valid = target != ignore_index
    outside = valid & ((target < 0) | (target >= num_classes))
    if outside.any():
        found = sorted(set(target[outside].tolist()))[:5]
        raise ValueError(
            f"target: expected labels 0..{num_classes - 1} or {ignore_index} (ignored), got {found}; "
            "check num_classes and the label images"
        )
    return valid


def _pixel_losses(logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    return F.cross_entropy(logits.float(), target.long(), ignore_index=ignore_index, reduction="none")


def cross_entropy(
    logits: Tensor | Sequence[Tensor],
    target: Tensor,
    *,
    ignore_index: int = 255,
    weight: Tensor | None = None,
    aux_weight: float = 0.4,
) -> Tensor:
    """Mean cross-entropy of the pixels that count; of main + ``aux_weight`` * auxiliary for a pair of logits.

    Args:
        logits: (N, C, H, W), or a pair (main, auxiliary) of them.
        target: (N, H, W) integer labels.
        ignore_index: label of pixels that do not count.
        weight: (C,) class weights; the mean is then the weighted one.
        aux_weight: weight of the auxiliary loss.

    Returns:
        A scalar; 0 where no pixel counts.

    Raises:
        ValueError, TypeError: shapes do not match, or labels lie outside the classes.
    """
    if not isinstance(logits, Tensor):
        if len(logits) != 2:
            raise ValueError(f"logits: expected a tensor or a pair (main, auxiliary), got {len(logits)} tensors")
        main, aux = (
            cross_entropy(item, target, ignore_index=ignore_index, weight=weight, aux_weight=aux_weight)
            for item in logits
        )
        return main + aux_weight * aux
    valid = _check(logits, target, ignore_index, weight)
    losses = _pixel_losses(logits, target, ignore_index)
    if weight is None:
        return losses.sum() / valid.sum().clamp(min=1)
    weights = weight.float()[target.long().masked_fill(~valid, 0)] * valid
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    ignore_index: int = 255,
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the hard pixels only (online hard example mining).

    Kept are the pixels whose true class has a probability below ``threshold``, or below that of the pixel ranked
    ``min_kept`` (the hardest has rank 0) where that is higher. With at most ``min_kept`` pixels that count, the easiest
    one is therefore left out: the release's rule, kept for its numbers.

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) integer labels.
        threshold: probability in (0, 1] under which a pixel is hard.
        min_kept: pixels of the batch to keep at least.
        ignore_index: label of pixels that do not count.
        weight: (C,) factors for the losses of each class; the mean is over the kept pixels.

    Returns:
        A scalar; 0 where no pixel counts.

    Raises:
        ValueError, TypeError: shapes do not match, labels lie outside the classes, or a bad threshold or min_kept.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a probability in (0, 1], got {threshold}")
    if isinstance(min_kept, bool) or not isinstance(min_kept, int) or min_kept < 0:
        raise ValueError(f"min_kept: expected a count of pixels, 0 or more, got {min_kept!r}")
    valid = _check(logits, target, ignore_index, weight)
    losses = _pixel_losses(logits, target, ignore_index)[valid]
    count = losses.numel()
    if count == 0:
        return logits.float().sum() * 0  # keeps the graph, so that backward() works on such a batch too
    probability = torch.exp(-losses.detach())
    limit = probability.kthvalue(min(min_kept, count - 1) + 1).values.clamp(min=threshold)
    hard = probability < limit
    if not hard.any():  # every pixel ties at the limit
        hard = torch.ones_like(hard)
    if weight is not None:
        losses = losses * weight.float()[target[valid].long()]
    return losses[hard].mean()
