"""stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged.

Each pixel asks which patches lie on it, in their order, so that sums are always made in the same one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import stitch_patches as reference
from magnet_kernels.reference.refine_step import map_format
from magnet_kernels.triton.boxes import read_boxes, rounded
from magnet_kernels.triton.launch import (
    MOST_PIXELS,
    UNSPECIALISED,
    alignment,
    as_bytes,
    cdiv,
    launch,
    power_of_two_from,
    strides,
    wide,
)
from magnet_kernels.triton.upsample_confidence import MOST_SIDE
from magnet_kernels.triton.values import bilinear_tap, blend, minus_zero, multiple_of_16, narrow, widen


# Budget: 80 registers, no spills; 4 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def stitch_kernel(
    patches,
    boxes,
    scales,
    result,
    covered,
    patches_n,
    patches_c,
    patches_h,
    patches_w,
    result_n,
    result_c,
    result_h,
    result_w,
    count,
    classes,
    patch_height,
    patch_width,
    height,
    width,
    groups,
    tiles,
    tiles_x,
    RESULT_ALIGNED: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of PLANES classes. boxes: (count, 5) int32; scales: (count, 2) fp32, patch size / box size (y, x)."""
    width = multiple_of_16(width, RESULT_ALIGNED)
    program = tl.program_id(0)
    tile = program % tiles
    group = program // tiles % groups
    image = program // tiles // groups
    place = tl.arange(0, ROWS * COLUMNS)
    top = tile // tiles_x * ROWS
    left = tile % tiles_x * COLUMNS
    row = top + place // COLUMNS
    column = left + place % COLUMNS
    exists = (row < height) & (column < width)
    plane = group * PLANES + tl.arange(0, PLANES)
    is_class = (plane < classes)[:, None]
    if WIDE:
        plane = plane.to(tl.int64)
    plane = plane[:, None]
    total = minus_zero([PLANES, ROWS * COLUMNS])
    on_top = tl.full([ROWS * COLUMNS], 0, tl.int32)
    for p in range(0, count):
        of_image = tl.load(boxes + p * 5)
        x0 = tl.load(boxes + p * 5 + 1)
        y0 = tl.load(boxes + p * 5 + 2)
        x1 = tl.load(boxes + p * 5 + 3)
        y1 = tl.load(boxes + p * 5 + 4)
        touches = (x0 < left + COLUMNS) & (x1 > left) & (y0 < top + ROWS) & (y1 > top)
        if (of_image == image) & touches:
            inside = (row >= y0) & (row < y1) & (column >= x0) & (column < x1) & exists
            low_y, step_y, weight_y = bilinear_tap(row - y0, tl.load(scales + p * 2), patch_height)
            low_x, step_x, weight_x = bilinear_tap(column - x0, tl.load(scales + p * 2 + 1), patch_width)
            if WIDE:
                low_y = low_y.to(tl.int64)
                low_x = low_x.to(tl.int64)
            weight_y = weight_y[None, :]
            weight_x = weight_x[None, :]
            down = (step_y * patches_h)[None, :]
            right = (step_x * patches_w)[None, :]
            valid = is_class & inside[None, :]
            patch = patches + tl.cast(p, tl.int64) * patches_n
            at = patch + (plane * patches_c + (low_y * patches_h + low_x * patches_w)[None, :])
            upper = widen(tl.load(at, mask=valid, other=0.0))
            lower = widen(tl.load(at + down, mask=valid, other=0.0))
            value = blend(upper, lower, weight_y)
            upper = widen(tl.load(at + right, mask=valid, other=0.0))
            lower = widen(tl.load(at + right + down, mask=valid, other=0.0))
            value = blend(value, blend(upper, lower, weight_y), weight_x)
            total = tl.where(valid, total + value, total)
            on_top += inside.to(tl.int32)
    divisor = tl.maximum(on_top, 1).to(tl.float32)
    value = tl.div_rn(total, tl.broadcast_to(divisor[None, :], [PLANES, ROWS * COLUMNS]))
    value = tl.where((on_top > 0)[None, :], value, 0.0)
    image = image.to(tl.int64)
    if group == 0:
        at = covered + (image * height * width + row * width + column)
        tl.store(at, (on_top > 0).to(tl.uint8), mask=exists)
    if WIDE:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    result_c = multiple_of_16(result_c, RESULT_ALIGNED)
    result_h = multiple_of_16(result_h, RESULT_ALIGNED)
    place = row * result_h + column * multiple_of_16(result_w, RESULT_ALIGNED)
    at = result + image * multiple_of_16(result_n, RESULT_ALIGNED) + (plane * result_c + place[None, :])
    tl.store(at, narrow(value, result.dtype.element_ty), mask=is_class & exists[None, :])


def tile_of(result: Tensor) -> tuple[int, int, int]:
    """(classes, rows, columns): 512 elements, 4 a thread; all classes where they are side by side, else one.

    Triton 3.6 gives a thread other pixels to read than to write, and exchanges the tile in shared memory in between.
    """
    if result.stride(1) == 1 and result.shape[1] > 1:
        planes = min(power_of_two_from(result.shape[1]), 64)
        return planes, 1, 512 // planes
    return 1, 16, 32


def launch_stitch(patches: Tensor, boxes: Tensor, result: Tensor, covered: Tensor) -> None:
    """Patches (P, C, h, w) at rounded ``boxes`` (P, 5) int32 of the CPU into ``result``, and where they lie.

    covered: (N, 1, H, W) bool without gaps.
    """
    n, c, height, width = result.shape
    sizes = torch.stack([boxes[:, 4] - boxes[:, 2], boxes[:, 3] - boxes[:, 1]], 1).clamp(min=1)
    scales = torch.tensor(patches.shape[2:], dtype=torch.float32) / sizes.to(torch.float32)
    planes, rows, columns = tile_of(result)
    tiles_y, tiles_x, groups = cdiv(height, rows), cdiv(width, columns), cdiv(c, planes)
    launch(
        stitch_kernel,
        n * groups * tiles_y * tiles_x,
        patches=patches,
        boxes=boxes.to(patches.device),
        scales=scales.to(patches.device),
        result=result,
        covered=as_bytes(covered),
        **strides(patches=patches, result=result),
        count=boxes.shape[0],
        classes=c,
        patch_height=patches.shape[2],
        patch_width=patches.shape[3],
        height=height,
        width=width,
        groups=groups,
        tiles=tiles_y * tiles_x,
        tiles_x=tiles_x,
        RESULT_ALIGNED=alignment(False, height, width, result=result)["RESULT_ALIGNED"],
        WIDE=wide(patches, result),
        PLANES=planes,
        ROWS=rows,
        COLUMNS=columns,
    )


def can_stitch(patches: Tensor, height: int, width: int) -> bool:
    """Whether kernels here can: fp64 is computed in fp64, by the reference."""
    most = max(*patches.shape[2:], height, width)
    return patches.dtype != torch.float64 and most < MOST_SIDE and height * width < MOST_PIXELS


def stitch_patches(patches: Tensor, boxes: Tensor, height: int, width: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """(P, C, h, w), (P, 5) -> (batch_size, C, height, width) like ``patches``, (batch_size, 1, height, width) bool."""
    if not can_stitch(patches, height, width):
        return reference.stitch_patches(patches, boxes, height, width, batch_size)
    boxes = rounded(read_boxes(boxes, batch_size))
    result = torch.empty(
        (batch_size, patches.shape[1], height, width),
        dtype=patches.dtype,
        device=patches.device,
        memory_format=map_format(patches),
    )
    covered = patches.new_empty((batch_size, 1, height, width), dtype=torch.bool)
    launch_stitch(patches, boxes, result, covered)
    return result, covered
