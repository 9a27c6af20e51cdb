"""median_blur: the median of a square window, zero padded. Found among order-preserving integer keys.

Windows of 3 and 5 are sorted as far as needed by a network of exchanges in registers. Of larger ones the key is
searched for whose rank is the middle: at most as many steps as a key has bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference.median_blur import median_blur_in_layout as reference
from magnet_kernels.triton.digits import count_digits, first_digit
from magnet_kernels.triton.launch import (
    MOST_PIXELS,
    UNSPECIALISED,
    alignment,
    as_bytes,
    cdiv,
    launch,
    plane_strides,
    power_of_two_from,
    smaller_blocks,
    strides,
    wide,
)
from magnet_kernels.triton.median_network import median_network
from magnet_kernels.triton.values import from_order_key, multiple_of_16, narrow, order_key, selection_key, widen


@triton.jit
def window_key(x, row, column, height, width, row_stride, column_stride, WIDE: tl.constexpr):
    """Keys of pixels (row, column), which may lie outside: +0 there."""
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if WIDE:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    return order_key(widen(tl.load(x + (row * row_stride + column * column_stride), mask=inside, other=0.0)))


# Budget: 112 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def median_kernel(
    x,
    result,
    mask,
    histogram,
    x_n,
    x_c,
    x_h,
    x_w,
    result_n,
    result_c,
    result_h,
    result_w,
    mask_n,
    mask_h,
    mask_w,
    histogram_n,
    channels,
    height,
    width,
    tiles,
    tiles_x,
    SIZE: tl.constexpr,
    NETWORK: tl.constexpr,
    KEYS: tl.constexpr,
    MASK: tl.constexpr,
    X_ALIGNED: tl.constexpr,
    RESULT_ALIGNED: tl.constexpr,
    MASK_ALIGNED: tl.constexpr,
    ALIGNED: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of a plane. KEYS: ``result`` gets keys to select by, whose first digit is counted in
    ``histogram`` (N, 256 or more); there are no channels."""
    width = multiple_of_16(width, ALIGNED)
    plane = tl.program_id(0) // tiles
    tile = tl.program_id(0) - plane * tiles
    tile_y = tile // tiles_x
    image = plane // channels
    channel = (plane - image * channels).to(tl.int64)
    image = image.to(tl.int64)
    row = (tile_y * ROWS + tl.arange(0, ROWS))[:, None]
    column = ((tile - tile_y * tiles_x) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    x += image * multiple_of_16(x_n, X_ALIGNED) + channel * multiple_of_16(x_c, X_ALIGNED)
    x_h = multiple_of_16(x_h, X_ALIGNED)
    x_w = multiple_of_16(x_w, X_ALIGNED)
    keys = ()
    for i in tl.static_range(SIZE * SIZE):
        keys += (  # type: ignore[assignment]
            window_key(
                x, row + (i // SIZE - SIZE // 2), column + (i % SIZE - SIZE // 2), height, width, x_h, x_w, WIDE
            ),
        )
    for e in tl.static_range(len(NETWORK)):
        low = tl.minimum(keys[NETWORK[e][0]], keys[NETWORK[e][1]])
        high = tl.maximum(keys[NETWORK[e][0]], keys[NETWORK[e][1]])
        keys = (
            keys[: NETWORK[e][0]]  # noqa: RUF005 (the compiler knows no stars)
            + (low,)
            + keys[NETWORK[e][0] + 1 : NETWORK[e][1]]
            + (high,)
            + keys[NETWORK[e][1] + 1 :]
        )
    key = keys[SIZE * SIZE // 2]  # type: ignore[var-annotated]
    exists = (row < height) & (column < width)
    if WIDE:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    if KEYS:
        valid = exists
        if MASK:
            mask += image * multiple_of_16(mask_n, MASK_ALIGNED)
            mask_h = multiple_of_16(mask_h, MASK_ALIGNED)
            mask += row * mask_h + column * multiple_of_16(mask_w, MASK_ALIGNED)
            valid = tl.load(mask, mask=exists, other=0) != 0
        key = selection_key(key, valid)
        count_digits(histogram + image * histogram_n, tl.where(exists, first_digit(key), -1))
        value = key
    else:
        value = narrow(from_order_key(key), result.dtype.element_ty)
    result += image * multiple_of_16(result_n, RESULT_ALIGNED) + channel * multiple_of_16(result_c, RESULT_ALIGNED)
    result_h = multiple_of_16(result_h, RESULT_ALIGNED)
    result += row * result_h + column * multiple_of_16(result_w, RESULT_ALIGNED)
    tl.store(result, value, mask=exists)


# Budget: 96 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def median_rank_kernel(
    x,
    result,
    x_n,
    x_c,
    x_h,
    x_w,
    result_n,
    result_c,
    result_h,
    result_w,
    channels,
    height,
    width,
    tiles_x,
    SIZE: tl.constexpr,
    WIDE: tl.constexpr,
    WINDOW: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """PIXELS consecutive pixels of a row, whose windows are the columns of a tile of keys."""
    row = tl.program_id(0) // tiles_x
    column = (tl.program_id(0) - row * tiles_x) * PIXELS + tl.arange(0, PIXELS)
    plane = row // height
    row -= plane * height
    image = plane // channels
    channel = (plane - image * channels).to(tl.int64)
    image = image.to(tl.int64)
    element = tl.arange(0, WINDOW)[:, None]
    at_y = row + (element // SIZE - SIZE // 2)
    at_x = column[None, :] + (element % SIZE - SIZE // 2)
    key = window_key(x + image * x_n + channel * x_c, at_y, at_x, height, width, x_h, x_w, WIDE)
    highest_key = 0x7FFFFFFF
    key = tl.where(element < SIZE * SIZE, key, highest_key)  # so that they do not count
    low = tl.min(key, axis=0)
    high = tl.max(tl.where(element < SIZE * SIZE, key, low[None, :]), axis=0)
    while tl.max((low < high).to(tl.int32), axis=0) != 0:
        middle = (low & high) + ((low ^ high) >> 1)
        below = tl.sum((key <= middle[None, :]).to(tl.int32), axis=0)
        enough = below > SIZE * SIZE // 2
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, tl.minimum(middle + 1, high))
    if WIDE:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    at = result + (image * result_n + channel * result_c + row * result_h + column * result_w)
    tl.store(at, narrow(from_order_key(low), result.dtype.element_ty), mask=column < width)


class Tile(NamedTuple):
    """What a program takes."""

    rows: int
    columns: int
    num_warps: int


def tile_of(kernel_size: int, height: int, width: int) -> Tile:
    """Of windows of 3 and 5: a few pixels a thread, in rows of 128 but for narrow maps."""
    columns = min(max(power_of_two_from(width), 16), 128)
    pixels = 512 if kernel_size == 3 else 256
    return Tile(pixels // columns, columns, 4)


def rank_tile_of(kernel_size: int, width: int, pixels: int, device: torch.device) -> tuple[int, int]:
    """Of larger windows: (elements of a window, pixels of a row), 64 keys a thread."""
    window = power_of_two_from(kernel_size**2)
    most = min(2**13 // window, max(power_of_two_from(width), 16))
    return window, smaller_blocks(most, 16, pixels, device)


def launch_median(
    x: Tensor, result: Tensor, kernel_size: int, mask: Tensor | None = None, histogram: Tensor | None = None
) -> None:
    """Medians of ``x`` (N, C, H, W) into ``result``.

    histogram: (N, 256 or more) int32 to count in; then ``result`` (N, 1, H, W) is int32 and gets keys to select by.
    Windows of 3 and 5 only.
    """
    n, c, height, width = x.shape
    steps = strides(x=x, result=result)
    wide_maps = wide(*(m for m in (x, result, mask) if m is not None))
    if kernel_size > 5:
        window, pixels = rank_tile_of(kernel_size, width, x.numel(), x.device)
        tiles_x = cdiv(width, pixels)
        launch(
            median_rank_kernel,
            n * c * height * tiles_x,
            x=x,
            result=result,
            **steps,
            channels=c,
            height=height,
            width=width,
            tiles_x=tiles_x,
            SIZE=kernel_size,
            WIDE=wide_maps,
            WINDOW=window,
            PIXELS=pixels,
        )
        return
    tile = tile_of(kernel_size, height, width)
    tiles_y, tiles_x = cdiv(height, tile.rows), cdiv(width, tile.columns)
    launch(
        median_kernel,
        n * c * tiles_y * tiles_x,
        x=x,
        result=result,
        mask=as_bytes(mask),
        histogram=histogram,
        **steps,
        **plane_strides(mask=mask),
        histogram_n=0 if histogram is None else histogram.stride(0),
        channels=c,
        height=height,
        width=width,
        tiles=tiles_y * tiles_x,
        tiles_x=tiles_x,
        SIZE=kernel_size,
        NETWORK=median_network(kernel_size**2),
        KEYS=histogram is not None,
        MASK=mask is not None,
        **alignment(False, height, width, x=x, result=result, mask=mask),
        WIDE=wide_maps,
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        num_warps=tile.num_warps,
    )


def median_blur(x: Tensor, kernel_size: int = 3) -> Tensor:
    """(N, C, H, W) -> same shape, type and layout. fp64 has keys of its own: the reference takes it."""
    if x.dtype == torch.float64 or x.shape[2] * x.shape[3] >= MOST_PIXELS:
        return reference(x, kernel_size)
    result = torch.empty_like(x)
    if kernel_size == 1:
        return result.copy_(x)
    if x.numel():
        launch_median(x, result, kernel_size)
    return result
