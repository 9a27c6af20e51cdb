"""confidence: top-1 minus top-2 class probability; and, of a map made larger on the way, upsample_confidence."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import confidence as reference
from magnet_kernels.triton.launch import MOST_PIXELS, launch, strides
from magnet_kernels.triton.margin import margins, pass_over


# Budget: 128 registers, no spills; 4 KiB shared memory.
@triton.jit
def confidence_kernel(
    x,
    copy,
    result,
    x_n,
    x_c,
    x_h,
    x_w,
    copy_n,
    copy_c,
    copy_h,
    copy_w,
    classes,
    pixels,
    width,
    small_height,
    small_width,
    scale_y,
    scale_x,
    blocks,
    LOGITS: tl.constexpr,
    UPSAMPLE: tl.constexpr,
    COPY: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    image = tl.program_id(0) // blocks
    index = (tl.program_id(0) - image * blocks) * PIXELS + tl.arange(0, PIXELS)
    exists = index < pixels
    image = image.to(tl.int64)
    if COPY:
        copy += image * copy_n
    margin = margins(
        x + image * x_n,
        x_c,
        x_h,
        x_w,
        classes,
        index,
        exists,
        width,
        LOGITS,
        FLAT,
        WIDE,
        PLANES,
        PIXELS,
        UPSAMPLE,
        small_height,
        small_width,
        scale_y,
        scale_x,
        COPY,
        copy,
        copy_c,
        copy_h,
        copy_w,
    )
    tl.store(result + image * pixels + index, margin, mask=exists)


def launch_confidence(x: Tensor, result: Tensor, from_logits: bool, copy: Tensor | None = None) -> None:
    """Confidence of ``x`` (N, C, H, W), or of what it is upsampled to where that is larger or smaller.

    result: (N, 1, H, W) fp32 without gaps. copy: (N, C, H, W) to store what the confidence is of.
    """
    over = pass_over(x, result, x, copy, from_logits=from_logits)
    launch(
        confidence_kernel,
        over.programs,
        x=x,
        copy=copy,
        result=result,
        **strides(x=x, copy=copy),
        COPY=copy is not None,
        **over.arguments,
    )


def confidence(x: Tensor, from_logits: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W) float32; 0 where the difference is not a number."""
    n, _, height, width = x.shape
    if height * width >= MOST_PIXELS:
        return reference.confidence(x, from_logits)
    result = x.new_empty((n, 1, height, width), dtype=torch.float32)
    launch_confidence(x, result, from_logits)
    return result
