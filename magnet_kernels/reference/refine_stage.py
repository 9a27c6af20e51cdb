"""refine_stage: a smaller coarse map and patches to the refined map of a scale, or to its labels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from magnet_kernels.reference.refine_step import map_format, refine_step
from magnet_kernels.reference.stitch_patches import stitch_patches


def patch_probabilities(patches: Tensor, from_logits: bool) -> Tensor:
    """The softmax of logits (P, C, h, w) over C, in at least fp32, rounded to their type; else ``patches``."""
    if not from_logits:
        return patches
    return patches.to(torch.promote_types(patches.dtype, torch.float32)).softmax(dim=1).to(patches.dtype)


def probabilities_backward(grad: Tensor, patches: Tensor, from_logits: bool) -> Tensor:
    """The gradient with respect to ``patches``, given that of their probabilities."""
    if not from_logits:
        return grad
    wide = torch.promote_types(patches.dtype, torch.float32)
    p, grad = patches.to(wide).softmax(dim=1), grad.to(wide)
    return (p * (grad - (grad * p).sum(dim=1, keepdim=True))).to(patches.dtype)


def composed(
    stitch_patches: Callable[..., tuple[Tensor, Tensor]],
    refine_step: Callable[..., tuple[Tensor, Tensor]],
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> tuple[Tensor, Tensor]:
    """refine_stage out of two operators of a backend; its refine_step upsamples ``coarse`` where that is smaller."""
    probabilities = patch_probabilities(patches, from_logits)
    fine, covered = stitch_patches(probabilities, boxes, height, width, coarse.shape[0])
    if coarse.shape == fine.shape:
        coarse = coarse.contiguous(memory_format=map_format(coarse))
    return refine_step(coarse, fine, covered, n_points, kernel_size, False)


def labels_of(stage: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What refine_stage returns -> labels (N, height, width) uint8 of the refined map, points (N, K)."""
    refined, points = stage
    return refined.argmax(dim=1).to(torch.uint8), points


def refine_stage(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> tuple[Tensor, Tensor]:
    """(N, C, h, w), (P, C, ph, pw), (P, 5) -> refined (N, C, height, width) like ``coarse``, points (N, K)."""
    sizes = (height, width, n_points, kernel_size, from_logits)
    return composed(stitch_patches, refine_step, coarse, patches, boxes, *sizes)


def refine_stage_labels(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The same arguments -> labels (N, height, width) uint8 of the refined map, points (N, K)."""
    return labels_of(refine_stage(*arguments))
