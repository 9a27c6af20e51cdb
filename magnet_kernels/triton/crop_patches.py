"""crop_patches: RoIAlign with adaptive sampling."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import crop_patches as reference
from magnet_kernels.reference.refine_step import map_format
from magnet_kernels.triton.boxes import read_boxes
from magnet_kernels.triton.launch import UNSPECIALISED, cdiv, launch, power_of_two_from, strides, wide
from magnet_kernels.triton.upsample_confidence import MOST_SIDE
from magnet_kernels.triton.values import add_tap, minus_zero, narrow

MOST_SAMPLES = 64  # of an axis: beyond, one thread would read for too long, and the reference runs


@triton.jit
def sample_taps(start, bin_size, samples, output, sample, size):
    """Where sample ``sample`` of outputs falls: the lower pixel, 1 or 0 to the higher, the weights of both.

    A sample more than one pixel outside weighs nothing. In fp64, weights in fp32.
    """
    count = samples.to(tl.float64)
    position = (start + output.to(tl.float64) * bin_size) + (sample + 0.5) * bin_size / count
    inside = (position >= -1.0) & (position <= size.to(tl.float64))
    position = tl.minimum(tl.maximum(position, 0.0), (size - 1).to(tl.float64))
    low = tl.where(inside, position, 0.0).to(tl.int32)
    fraction = position - low.to(tl.float64)
    lower = tl.where(inside, (1.0 - fraction) / count, 0.0).to(tl.float32)
    higher = tl.where(inside, fraction / count, 0.0).to(tl.float32)
    return low, tl.where((higher != 0.0) & (low < size - 1), 1, 0), lower, higher


# Budget: 128 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def crop_kernel(
    x,
    boxes,
    samples,
    result,
    x_n,
    x_c,
    x_h,
    x_w,
    result_n,
    result_c,
    result_h,
    result_w,
    classes,
    map_height,
    map_width,
    height,
    width,
    groups,
    blocks,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    TIMES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """PIXELS consecutive pixels of TIMES tiles of PLANES classes of a patch.

    boxes: (P, 4) fp64, start and size of an output, rows, then columns; samples: (P, 3) int32, image, rows, columns.
    """
    block = tl.program_id(0) % blocks
    group = tl.program_id(0) // blocks % groups
    patch = (tl.program_id(0) // blocks // groups).to(tl.int64)
    index = block * PIXELS + tl.arange(0, PIXELS)
    row = index // width
    column = index - row * width
    exists = index < height * width
    start_y = tl.load(boxes + patch * 4)
    bin_y = tl.load(boxes + patch * 4 + 1)
    start_x = tl.load(boxes + patch * 4 + 2)
    bin_x = tl.load(boxes + patch * 4 + 3)
    image = tl.load(samples + patch * 3).to(tl.int64)
    rows = tl.load(samples + patch * 3 + 1)
    columns = tl.load(samples + patch * 3 + 2)
    # Sizes as tensors: one of 1 would be a Python int in the compiled kernel.
    size_y = tl.full([], 0, tl.int32) + map_height
    size_x = tl.full([], 0, tl.int32) + map_width
    x += image * x_n
    plane = (group * TIMES * PLANES + tl.arange(0, PLANES))[:, None]
    left_over = classes - plane
    exists = exists[None, :]
    if WIDE:
        plane = plane.to(tl.int64)
        x_c = tl.cast(x_c, tl.int64)
        result_c = tl.cast(result_c, tl.int64)
    x += plane * x_c
    result += plane * result_c
    totals = ()
    for _ in tl.static_range(TIMES):
        totals += (minus_zero([PLANES, PIXELS]),)  # type: ignore[assignment]
    some_rows = tl.full([PIXELS], 0, tl.int32)
    some_columns = tl.full([PIXELS], 0, tl.int32)
    for i in range(0, columns):
        low_x, step_x, left, right = sample_taps(start_x, bin_x, columns, column, i, size_x)
        if WIDE:
            low_x = low_x.to(tl.int64)
        some_columns = some_columns | ((left != 0.0) | (right != 0.0)).to(tl.int32)
        left = left[None, :]
        right = right[None, :]
        aside = (step_x * x_w)[None, :]
        of_left, of_right = (), ()
        for _ in tl.static_range(TIMES):
            of_left += (minus_zero([PLANES, PIXELS]),)  # type: ignore[assignment]
            of_right += (minus_zero([PLANES, PIXELS]),)  # type: ignore[assignment]
        for j in range(0, rows):
            low_y, step_y, upper, lower = sample_taps(start_y, bin_y, rows, row, j, size_y)
            if WIDE:
                low_y = low_y.to(tl.int64)
            some_rows = some_rows | ((upper != 0.0) | (lower != 0.0)).to(tl.int32)
            upper = upper[None, :]
            lower = lower[None, :]
            down = (step_y * x_h)[None, :]
            place = x + (low_y * x_h + low_x * x_w)[None, :]
            new_left, new_right = (), ()
            for t in tl.static_range(TIMES):
                at = place + t * PLANES * x_c
                mask = exists & (left_over > t * PLANES) & (left != 0.0)
                new_left += (add_tap(add_tap(of_left[t], upper, at, mask), lower, at + down, mask),)  # type: ignore[assignment]
                at += aside
                mask = exists & (left_over > t * PLANES) & (right != 0.0)
                new_right += (add_tap(add_tap(of_right[t], upper, at, mask), lower, at + down, mask),)  # type: ignore[assignment]
            of_left, of_right = new_left, new_right
        sums = ()
        for t in tl.static_range(TIMES):
            total = tl.where(left != 0.0, totals[t] + of_left[t] * left, totals[t])
            sums += (tl.where(right != 0.0, total + of_right[t] * right, total),)  # type: ignore[assignment]
        totals = sums
    if WIDE:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    some = ((some_rows & some_columns) != 0)[None, :]
    at = result + patch * result_n + (row * result_h + column * result_w)[None, :]
    for t in tl.static_range(TIMES):
        value = narrow(tl.where(some, totals[t], 0.0), result.dtype.element_ty)
        tl.store(at, value, mask=exists & (left_over > t * PLANES))
        at += PLANES * result_c


class Tile(NamedTuple):
    """What a program takes: ``times`` times ``planes`` classes of ``pixels`` pixels."""

    planes: int
    times: int
    pixels: int
    num_warps: int


def tile_of(result: Tensor) -> Tile:
    """All classes at a time where they are side by side, 2 elements a thread; else one, so that pixels are, and 4."""
    classes = power_of_two_from(result.shape[1])
    if result.stride(1) == 1 and classes > 1:
        planes = min(classes, 64)
        return Tile(planes, 1, 512 // planes, 8)
    return Tile(1, min(classes, 4), 256, 8)


def axes(boxes: Tensor, height: int, width: int, aligned: bool) -> tuple[Tensor, Tensor]:
    """Of boxes on the CPU: (P, 4) fp64 start and size of an output, rows and then columns; (P, 2) int64 samples.

    The number of samples comes from fp32, where a size that is whole but for rounding is whole.
    """
    corners = boxes[:, 1:].to(torch.float32) - (0.5 if aligned else 0.0)
    start, extent = corners[:, [1, 0]], corners[:, [3, 2]] - corners[:, [1, 0]]
    if not aligned:
        extent = extent.clamp(min=1.0)
    size = torch.tensor([height, width])
    samples = (extent / size.to(torch.float32)).ceil().clamp(min=0).to(torch.int64)
    bins = extent.double() / size.double()
    return torch.stack([start.double(), bins], 2).flatten(1), samples


def crop_patches(x: Tensor, boxes: Tensor, height: int, width: int, aligned: bool) -> Tensor:
    """(N, C, H, W), (P, 5) -> (P, C, height, width) in the type and layout of ``x``. fp64: the reference."""
    table = read_boxes(boxes, x.shape[0])
    places, samples = axes(table, height, width, aligned)
    too_many = samples.numel() > 0 and int(samples.max()) > MOST_SAMPLES
    if x.dtype == torch.float64 or too_many or max(*x.shape[2:], height, width) >= MOST_SIDE:
        return reference.crop_patches(x, table, height, width, aligned)
    result = torch.empty(
        (table.shape[0], x.shape[1], height, width), dtype=x.dtype, device=x.device, memory_format=map_format(x)
    )
    tile = tile_of(result)
    groups, blocks = cdiv(x.shape[1], tile.planes * tile.times), cdiv(height * width, tile.pixels)
    launch(
        crop_kernel,
        table.shape[0] * groups * blocks,
        x=x,
        boxes=places.to(x.device),
        samples=torch.cat([table[:, :1].long(), samples], 1).to(torch.int32).to(x.device),
        result=result,
        **strides(x=x, result=result),
        classes=x.shape[1],
        map_height=x.shape[2],
        map_width=x.shape[3],
        height=height,
        width=width,
        groups=groups,
        blocks=blocks,
        WIDE=wide(x, result),
        PLANES=tile.planes,
        TIMES=tile.times,
        PIXELS=tile.pixels,
        num_warps=tile.num_warps,
    )
    return result
