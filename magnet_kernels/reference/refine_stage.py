"""refine_stage: a smaller coarse map and patches to the refined map of a scale, or to its labels alone."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference.refine_step import map_format, refine_step, upsample
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
    if coarse.shape[2:] == (height, width):
        upsampled = coarse.contiguous(memory_format=map_format(coarse))
    else:
        upsampled = upsample(coarse, (height, width))
    probabilities = patch_probabilities(patches, from_logits)
    fine, covered = stitch_patches(probabilities, boxes, height, width, coarse.shape[0])
    return refine_step(upsampled, fine, covered, n_points, kernel_size, False)


def refine_stage_labels(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> tuple[Tensor, Tensor]:
    """The same -> labels (N, height, width) uint8 of the refined map, points (N, K)."""
    refined, points = refine_stage(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits)
    return refined.argmax(dim=1).to(torch.uint8), points
