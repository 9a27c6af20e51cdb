"""upsample_confidence: a map made larger, and the confidence of the larger map."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels.reference.bilinear import map_taps, resize_axis_backward
from magnet_kernels.reference.confidence import confidence
from magnet_kernels.reference.refine_step import map_format, upsample


def upsample_confidence(coarse: Tensor, height: int, width: int, from_logits: bool = False) -> tuple[Tensor, Tensor]:
    """(N, C, h, w) -> (N, C, height, width) in the type and layout of ``coarse``, (N, 1, height, width) float32."""
    if coarse.shape[2:] == (height, width):
        upsampled = coarse.clone(memory_format=map_format(coarse))
    else:
        upsampled = upsample(coarse, (height, width))
    return upsampled, confidence(upsampled, from_logits)


def upsample_backward(grad: Tensor, height: int, width: int) -> Tensor:
    """The adjoint of the upsampling: (N, C, H, W) -> (N, C, height, width)."""
    if grad.shape[2:] == (height, width):
        return grad.clone(memory_format=torch.contiguous_format)
    wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
    rows, columns = map_taps((height, width), grad.shape[2:], wide)
    return resize_axis_backward(resize_axis_backward(wide, 2, rows, height), 3, columns, width).to(grad.dtype)
