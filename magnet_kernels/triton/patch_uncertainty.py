"""patch_uncertainty: how unsure a map is, box by box. Sums are made in fp64, in an order that only the box decides."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import patch_uncertainty as reference
from magnet_kernels.triton.boxes import clipped, read_boxes, rounded
from magnet_kernels.triton.confidence import launch_confidence
from magnet_kernels.triton.launch import MOST_PIXELS, UNSPECIALISED, alignment, cdiv, flat, launch, strides, wide
from magnet_kernels.triton.margin import margins, tile_of
from magnet_kernels.triton.values import multiple_of_16


# Budget: 64 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def box_kernel(
    x,
    boxes,
    sums,
    x_n,
    x_c,
    x_h,
    x_w,
    classes,
    width,
    blocks,
    MADE: tl.constexpr,
    LOGITS: tl.constexpr,
    X_ALIGNED: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """The sum of 1 - confidence over a block of the pixels of a box, into sums (P, blocks) fp64.

    boxes: (P, 5) int32, clipped. MADE: ``x`` (N, 1, H, W) holds the confidence.
    """
    box = tl.program_id(0) // blocks
    block = tl.program_id(0) - box * blocks
    image = tl.load(boxes + box * 5).to(tl.int64)
    x0 = tl.load(boxes + box * 5 + 1)
    y0 = tl.load(boxes + box * 5 + 2)
    box_width = tl.load(boxes + box * 5 + 3) - x0
    area = box_width * (tl.load(boxes + box * 5 + 4) - y0)
    which = block * PIXELS + tl.arange(0, PIXELS)
    exists = which < area
    row = which // tl.maximum(box_width, 1)
    index = (y0 + row) * width + x0 + (which - row * box_width)
    index = tl.where(exists, index, 0)
    x += image * multiple_of_16(x_n, X_ALIGNED)
    if MADE:
        margin = tl.load(x + index, mask=exists, other=0.0)
    else:
        margin = margins(
            x,
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
        )
    unsure = tl.where(exists, 1.0 - margin, 0.0).to(tl.float64)
    tl.store(sums + box.to(tl.int64) * blocks + block, tl.sum(unsure, axis=0))


def patch_uncertainty(coarse: Tensor, boxes: Tensor, from_logits: bool = False) -> Tensor:
    """(N, C, H, W), (P, 5) -> (P,) float32: the mean of 1 - confidence over each box; 0 where it has no pixel."""
    n, c, height, width = coarse.shape
    table = read_boxes(boxes, n)
    if height * width >= MOST_PIXELS:
        return reference.patch_uncertainty(coarse, table, from_logits)
    table = clipped(rounded(table), height, width)
    areas = ((table[:, 3] - table[:, 1]).long() * (table[:, 4] - table[:, 2])).double()
    if not areas.any():
        return coarse.new_zeros(len(table), dtype=torch.float32)
    made = bool(areas.sum() > n * height * width)  # boxes on top of each other
    x = coarse
    if made:
        x = coarse.new_empty((n, 1, height, width), dtype=torch.float32)
        launch_confidence(coarse, x, from_logits)
    tile = tile_of(x, int(areas.sum()), scattered=True)
    blocks = cdiv(int(areas.max()), tile.pixels)
    sums = coarse.new_empty((len(table), blocks), dtype=torch.float64)
    launch(
        box_kernel,
        len(table) * blocks,
        x=x,
        boxes=table.to(coarse.device),
        sums=sums,
        **strides(x=x),
        X_ALIGNED=alignment(flat(x), height, width, x=x)["X_ALIGNED"],
        classes=c,
        width=width,
        blocks=blocks,
        MADE=made,
        LOGITS=from_logits,
        FLAT=flat(x),
        WIDE=wide(x),
        PLANES=tile.planes,
        PIXELS=tile.pixels,
        num_warps=tile.num_warps,
    )
    return (sums.sum(1) / areas.clamp(min=1).to(coarse.device)).float()
