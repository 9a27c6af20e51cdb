"""refine_stage: the patches stitched, then refine_step of the coarse map, upsampled on the way, where they lie."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference import refine_stage as reference
from magnet_kernels.reference.refine_step import map_format
from magnet_kernels.triton.launch import MOST_PIXELS
from magnet_kernels.triton.refine_step import refine_into
from magnet_kernels.triton.stitch_patches import can_stitch, stitch_patches
from magnet_kernels.triton.upsample_confidence import can_upsample


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
    if not (
        can_stitch(patches, height, width) and can_upsample(coarse, height, width) and height * width < MOST_PIXELS
    ):
        return reference.refine_stage(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits)
    n, c = coarse.shape[:2]
    probabilities = reference.patch_probabilities(patches, from_logits)
    fine, covered = stitch_patches(probabilities, boxes, height, width, n)
    refined = torch.empty(
        (n, c, height, width), dtype=coarse.dtype, device=coarse.device, memory_format=map_format(coarse)
    )
    return refined, refine_into(refined, coarse, fine, covered, n_points, kernel_size, False)


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
