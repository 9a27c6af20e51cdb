"""confidence: top-1 minus top-2 class probability; and, of a map made larger on the way, upsample_confidence."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import confidence as reference
from magnet_kernels.triton.launch import MOST_PIXELS, UNSPECIALISED, launch
from magnet_kernels.triton.margin import margins, pass_over
from magnet_kernels.triton.values import multiple_of_16


# Budget: 128 registers, no spills; 4 KiB shared memory.
@triton.jit(**UNSPECIALISED)
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
    X_ALIGNED: tl.constexpr,
    COPY_ALIGNED: tl.constexpr,
    ALIGNED: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    pixels = multiple_of_16(pixels, ALIGNED)
    width = multiple_of_16(width, ALIGNED and not FLAT)
    image = tl.program_id(0) // blocks
    index = (tl.program_id(0) - image * blocks) * PIXELS + tl.arange(0, PIXELS)
    exists = index < pixels
    image = image.to(tl.int64)
    if COPY:
        copy += image * multiple_of_16(copy_n, COPY_ALIGNED)
    margin = margins(
        x + image * multiple_of_16(x_n, X_ALIGNED),
        multiple_of_16(x_c, X_ALIGNED),
        multiple_of_16(x_h, X_ALIGNED),
        multiple_of_16(x_w, X_ALIGNED),
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
        multiple_of_16(copy_c, COPY_ALIGNED),
        multiple_of_16(copy_h, COPY_ALIGNED),
        multiple_of_16(copy_w, COPY_ALIGNED),
    )
    tl.store(result + image * pixels + index, margin, mask=exists)


def launch_confidence(x: Tensor, result: Tensor, from_logits: bool, copy: Tensor | None = None) -> None:
    """Confidence of ``x`` (N, C, H, W), or of what it is upsampled to where that is larger or smaller.

    result: (N, 1, H, W) fp32 without gaps. copy: (N, C, H, W) to store what the confidence is of.
    """
    over = pass_over(x, result, from_logits, x=x, copy=copy)
    launch(
        confidence_kernel,
        over.programs,
        x=x,
        copy=copy,
        result=result,
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
