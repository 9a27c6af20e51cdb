"""Losses for training segmenters and refinement modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.data import IGNORE_INDEX
from magnet.distributed import all_reduce_sum, global_kth_smallest, global_sum, world_size
from magnet.errors import ArgumentError
from magnet.training.config import RefinerConfig, SegmenterConfig


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
    if weight is not None:
        _check_weight(weight, num_classes)
    valid = target != ignore_index
    outside = valid & ((target < 0) | (target >= num_classes))
    if outside.any():
        found = sorted(set(target[outside].tolist()))[:5]
        raise ValueError(
            f"target: expected labels 0..{num_classes - 1} or {ignore_index} (ignored), got {found}; "
            "check num_classes and the label images"
        )
    return valid


def _check_weight(weight: Tensor, num_classes: int) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight: expected a tensor, got {type(weight).__name__}; use torch.tensor(...)")
    if tuple(weight.shape) != (num_classes,):
        raise ValueError(f"weight: expected one weight for each of {num_classes} classes, got {tuple(weight.shape)}")
    if not bool((weight.isfinite() & (weight >= 0)).all()):
        raise ValueError(f"weight: expected finite weights of at least 0, got {weight.tolist()[:8]}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _pixel_losses(logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    return F.cross_entropy(logits.float(), target.long(), ignore_index=ignore_index, reduction="none")


def _ratio(total: Tensor, count: Tensor, all_ranks: bool) -> Tensor:
    """total / count, 0 where nothing counts; with ``all_ranks``, of the sums over all processes."""
    if all_ranks and world_size() > 1:
        total, count = global_sum(torch.stack((total.double(), count.double()))).to(total.dtype)
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _of_pair(loss: Callable[[Tensor], Tensor], logits: Sequence[Tensor], aux_weight: float) -> Tensor:
    """main + ``aux_weight`` * auxiliary."""
    if len(logits) != 2:
        raise ValueError(f"logits: expected a tensor or a pair (main, auxiliary), got {len(logits)} tensors")
    if not _is_number(aux_weight) or aux_weight < 0:
        raise ValueError(f"aux_weight: expected a finite number of at least 0, got {aux_weight!r}")
    return loss(logits[0]) + aux_weight * loss(logits[1])


def cross_entropy(
    logits: Tensor | Sequence[Tensor],
    target: Tensor,
    *,
    ignore_index: int = 255,
    weight: Tensor | None = None,
    aux_weight: float = 0.4,
    all_ranks: bool = False,
) -> Tensor:
    """Mean cross-entropy of the pixels that count; of main + ``aux_weight`` * auxiliary for a pair of logits.

    Args:
        logits: (N, C, H, W), or a pair (main, auxiliary) of them.
        target: (N, H, W) integer labels.
        ignore_index: label of pixels that do not count.
        weight: (C,) class weights; the mean is then the weighted one.
        aux_weight: weight of the auxiliary loss.
        all_ranks: the loss of the batch of all processes, of which each gives its part (any part, none too). Every
            process must call; the gradient is scaled for DistributedDataParallel, which averages over them.

    Returns:
        A scalar; 0 where no pixel counts.

    Raises:
        ValueError, TypeError: shapes do not match, labels lie outside the classes, or a weight is below 0 or no
            number.
    """
    if not isinstance(logits, Tensor):
        return _of_pair(
            lambda one: cross_entropy(one, target, ignore_index=ignore_index, weight=weight, all_ranks=all_ranks),
            logits,
            aux_weight,
        )
    valid = _check(logits, target, ignore_index, weight)
    losses = _pixel_losses(logits, target, ignore_index)
    if weight is None:
        return _ratio(losses.sum(), valid.sum(), all_ranks)
    weights = weight.float()[target.long().masked_fill(~valid, 0)] * valid
    return _ratio((losses * weights).sum(), weights.sum(), all_ranks)


def ohem_cross_entropy(
    logits: Tensor | Sequence[Tensor],
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    ignore_index: int = 255,
    weight: Tensor | None = None,
    aux_weight: float = 0.4,
    all_ranks: bool = False,
) -> Tensor:
    """Cross-entropy of the hard pixels only (online hard example mining); of a pair, main + ``aux_weight`` * auxiliary.

    Kept are the pixels whose true class has a probability below ``threshold``, or below that of the pixel ranked
    ``min_kept`` (the hardest has rank 0) where that is higher. With at most ``min_kept`` pixels that count, the easiest
    one is therefore left out: the release's rule, kept for its numbers.

    Args:
        logits: (N, C, H, W), or a pair (main, auxiliary) of them; each has hard pixels of its own.
        target: (N, H, W) integer labels.
        threshold: probability in (0, 1] under which a pixel is hard.
        min_kept: pixels of the batch to keep at least.
        ignore_index: label of pixels that do not count.
        weight: (C,) factors for the losses of each class; the mean is over the kept pixels.
        aux_weight: weight of the auxiliary loss.
        all_ranks: the loss of the batch of all processes, of which each gives its part (any part, none too). Every
            process must call; the gradient is scaled for DistributedDataParallel, which averages over them.

    Returns:
        A scalar; 0 where no pixel counts.

    Raises:
        ValueError, TypeError: shapes do not match, labels lie outside the classes, or a bad threshold or min_kept.
    """
    if not _is_number(threshold) or not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a probability in (0, 1], got {threshold!r}")
    if isinstance(min_kept, bool) or not isinstance(min_kept, int) or min_kept < 0:
        raise ValueError(f"min_kept: expected a count of pixels, 0 or more, got {min_kept!r}")
    if not isinstance(logits, Tensor):
        return _of_pair(
            lambda one: ohem_cross_entropy(
                one,
                target,
                threshold=threshold,
                min_kept=min_kept,
                ignore_index=ignore_index,
                weight=weight,
                all_ranks=all_ranks,
            ),
            logits,
            aux_weight,
        )
    valid = _check(logits, target, ignore_index, weight)
    losses = _pixel_losses(logits, target, ignore_index)[valid]
    several = all_ranks and world_size() > 1
    count = int(all_reduce_sum(valid.sum())) if several else losses.numel()
    if count == 0:
        return logits.float().sum() * 0  # keeps the graph, so that backward() works on such a batch too
    probability = torch.exp(-losses.detach())
    rank = min(min_kept, count - 1)
    ranked = global_kth_smallest(probability, rank) if several else probability.kthvalue(rank + 1).values
    hard = probability < ranked.clamp(min=threshold)
    kept = hard.sum()
    if int(all_reduce_sum(kept) if several else kept) == 0:  # every pixel ties at the limit
        hard = torch.ones_like(hard)
    if weight is not None:
        losses = losses * weight.float()[target[valid].long()]
    return _ratio(losses[hard].sum(), hard.sum(), True) if several else losses[hard].mean()


class Loss:
    """Cross-entropy (all pixels, or the hard ones) plus a soft Dice loss."""

    def __init__(
        self,
        kind: str,
        class_weights: Sequence[float],
        dice: float,
        num_classes: int,
        device: torch.device,
        *,
        aux_weight: float = 0.4,
        ohem_threshold: float = 0.7,
        ohem_min_kept: int = 100_000,
    ) -> None:
        self.dice = dice
        self._pixels: Callable[..., Tensor] = cross_entropy
        if kind == "ohem":
            self._pixels = partial(ohem_cross_entropy, threshold=ohem_threshold, min_kept=ohem_min_kept)
        self._aux_weight = aux_weight
        self.weight = torch.tensor(list(class_weights), device=device) if class_weights else None

    @classmethod
    def of(cls, stage: SegmenterConfig | RefinerConfig, num_classes: int, device: torch.device) -> Loss:
        """The loss of a stage. Raises ArgumentError where its class weights are not one for each class."""
        weights = stage.class_weights
        if weights and len(weights) != num_classes:
            name = "segmenter" if isinstance(stage, SegmenterConfig) else "refiner"
            raise ArgumentError(
                f"{name}.class_weights: expected one for each of {num_classes} classes, got {len(weights)}; give each "
                "class a weight, or leave the key out"
            )
        return cls(
            stage.loss,
            stage.class_weights,
            stage.dice,
            num_classes,
            device,
            aux_weight=stage.aux_weight if isinstance(stage, SegmenterConfig) else 0.0,
            ohem_threshold=stage.ohem_threshold,
            ohem_min_kept=stage.ohem_min_kept,
        )

    def __call__(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Of logits (N, C, H, W) or, with an auxiliary head, of the pair (main, auxiliary); Dice is of main alone.

        With several processes, of their images together: all must call, and all get the same.
        """
        loss = self._pixels(
            logits,
            target,
            ignore_index=IGNORE_INDEX,
            weight=self.weight,
            aux_weight=self._aux_weight,
            all_ranks=True,
        )
        if self.dice > 0:
            main = logits if isinstance(logits, Tensor) else logits[0]
            loss = loss + self.dice * dice_loss(main, target, all_ranks=True)
        return loss

    def weight_of(self, target: Tensor) -> Tensor:
        """What the mean over the pixels of ``target`` divides by, a scalar: their number, or the sum of their weights.

        A mean over several parts is the sum of the parts' means, each times its share of this.
        """
        valid = target != IGNORE_INDEX
        if self.weight is None:
            return valid.sum().float()
        return (self.weight.float()[target.masked_fill(~valid, 0)] * valid).sum()


def dice_loss(logits: Tensor, target: Tensor, *, all_ranks: bool = False) -> Tensor:
    """1 - soft Dice over the batch (with ``all_ranks``, of all processes), mean over the classes that labels hold."""
    valid = target != IGNORE_INDEX
    num_classes = logits.shape[1]
    truth = F.one_hot(target.masked_fill(~valid, 0), num_classes).permute(0, 3, 1, 2) * valid[:, None]
    probabilities = logits.float().softmax(dim=1) * valid[:, None]
    overlap, mass = (probabilities * truth).sum(dim=(0, 2, 3)), probabilities.sum(dim=(0, 2, 3))
    counts = truth.sum(dim=(0, 2, 3))
    if all_ranks:
        overlap, mass = global_sum(torch.stack((overlap, mass)))
        counts = all_reduce_sum(counts)
    dice = (2 * overlap + 1) / (mass + counts + 1)
    present = counts > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
