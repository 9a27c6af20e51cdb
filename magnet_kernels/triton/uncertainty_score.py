"""uncertainty_score: high where coarse is unsure and fine is sure."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import uncertainty_score as reference
from magnet_kernels.triton.launch import MOST_PIXELS, UNSPECIALISED, alignment, as_bytes, launch, plane_strides
from magnet_kernels.triton.margin import margins, pass_over, pixel_offsets
from magnet_kernels.triton.median_blur import launch_median
from magnet_kernels.triton.values import multiple_of_16


# Budget: 128 registers, no spills; 4 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def score_kernel(
    coarse,
    fine,
    mask,
    copy,
    score,
    coarse_n,
    coarse_c,
    coarse_h,
    coarse_w,
    fine_n,
    fine_c,
    fine_h,
    fine_w,
    mask_n,
    mask_h,
    mask_w,
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
    MASK: tl.constexpr,
    COPY: tl.constexpr,
    COARSE_ALIGNED: tl.constexpr,
    FINE_ALIGNED: tl.constexpr,
    MASK_ALIGNED: tl.constexpr,
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
    unsure = 1.0 - margins(
        coarse + image * multiple_of_16(coarse_n, COARSE_ALIGNED),
        multiple_of_16(coarse_c, COARSE_ALIGNED),
        multiple_of_16(coarse_h, COARSE_ALIGNED),
        multiple_of_16(coarse_w, COARSE_ALIGNED),
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
    sure = margins(
        fine + image * multiple_of_16(fine_n, FINE_ALIGNED),
        multiple_of_16(fine_c, FINE_ALIGNED),
        multiple_of_16(fine_h, FINE_ALIGNED),
        multiple_of_16(fine_w, FINE_ALIGNED),
        classes,
        index,
        exists,
        width,
        LOGITS,
        FLAT,
        WIDE,
        PLANES,
        PIXELS,
    )
    value = unsure * sure
    value = tl.where(value != value, 0.0, value + 0.0)  # -0 + 0 is 0
    if MASK:
        mask += image * multiple_of_16(mask_n, MASK_ALIGNED)
        mask_h = multiple_of_16(mask_h, MASK_ALIGNED)
        mask += pixel_offsets(index, width, mask_h, multiple_of_16(mask_w, MASK_ALIGNED), FLAT, WIDE)
        value = tl.where(tl.load(mask, mask=exists, other=0) != 0, value, 0.0)
    tl.store(score + image * pixels + index, value, mask=exists)


def launch_score(
    coarse: Tensor,
    fine: Tensor,
    mask: Tensor | None,
    score: Tensor,
    from_logits: bool,
    copy: Tensor | None = None,
) -> None:
    """The score before the median, into ``score`` (N, 1, H, W) fp32 without gaps.

    A smaller ``coarse`` is upsampled on the way. copy: (N, C, H, W) to store ``coarse`` in.
    """
    over = pass_over(fine, score, from_logits, mask, coarse=coarse, fine=fine, copy=copy)
    launch(
        score_kernel,
        over.programs,
        coarse=coarse,
        fine=fine,
        mask=as_bytes(mask),
        copy=copy,
        score=score,
        **plane_strides(mask=mask),
        MASK_ALIGNED=alignment(over.arguments["FLAT"], *fine.shape[2:], mask=mask)["MASK_ALIGNED"],
        MASK=mask is not None,
        COPY=copy is not None,
        **over.arguments,
    )


def uncertainty_score(
    coarse: Tensor, fine: Tensor, mask: Tensor | None = None, kernel_size: int = 3, from_logits: bool = False
) -> Tensor:
    """(N, C, H, W) twice, mask (N, 1, H, W) -> (N, 1, H, W) float32."""
    n, _, height, width = fine.shape
    if height * width >= MOST_PIXELS:
        return reference.uncertainty_score(coarse, fine, mask, kernel_size, from_logits)
    score = fine.new_empty((n, 1, height, width), dtype=torch.float32)
    launch_score(coarse, fine, mask, score, from_logits)
    if kernel_size == 1 or score.numel() == 0:
        return score
    result = torch.empty_like(score)
    launch_median(score, result, kernel_size)
    return result
