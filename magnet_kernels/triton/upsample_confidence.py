"""upsample_confidence: a map made larger, and the confidence of the larger map; kernel in confidence.py."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference import upsample_confidence as reference
from magnet_kernels.reference.refine_step import map_format
from magnet_kernels.triton.confidence import launch_confidence
from magnet_kernels.triton.launch import MOST_PIXELS

MOST_SIDE = 2**22  # of maps to upsample: places of pixels are computed in fp32


def can_upsample(coarse: Tensor, height: int, width: int) -> bool:
    """Whether kernels here can make ``coarse`` height x width: fp64 is upsampled in fp64, by the reference."""
    if coarse.shape[2:] == (height, width):
        return True
    return coarse.dtype != torch.float64 and max(height, width, *coarse.shape[2:]) < MOST_SIDE


def upsample_confidence(coarse: Tensor, height: int, width: int, from_logits: bool = False) -> tuple[Tensor, Tensor]:
    """(N, C, h, w) -> (N, C, height, width) in the type and layout of ``coarse``, (N, 1, height, width) float32."""
    if height * width >= MOST_PIXELS or not can_upsample(coarse, height, width):
        return reference.upsample_confidence(coarse, height, width, from_logits)
    n, c = coarse.shape[:2]
    upsampled = torch.empty(
        (n, c, height, width), dtype=coarse.dtype, device=coarse.device, memory_format=map_format(coarse)
    )
    result = coarse.new_empty((n, 1, height, width), dtype=torch.float32)
    launch_confidence(coarse, result, from_logits, copy=upsampled)
    return upsampled, result
