"""refine_stage: the patches stitched, then refine_step of the coarse map, upsampled on the way, where they lie."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from magnet_kernels.reference import refine_stage as reference
from magnet_kernels.triton.launch import MOST_PIXELS
from magnet_kernels.triton.refine_step import refine_step
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
    arguments = (coarse, patches, boxes, height, width, n_points, kernel_size, from_logits)
    if not (
        can_stitch(patches, height, width) and can_upsample(coarse, height, width) and height * width < MOST_PIXELS
    ):
        return reference.refine_stage(*arguments)
    return reference.composed(stitch_patches, refine_step, *arguments)


def refine_stage_labels(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The same arguments -> labels (N, height, width) uint8 of the refined map, points (N, K)."""
    return reference.labels_of(refine_stage(*arguments))
