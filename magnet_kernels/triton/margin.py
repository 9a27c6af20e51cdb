"""Top-two margins of a block of pixels, in one pass over their classes: the loop that confidence and score share."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.triton.launch import (
    alignment,
    cdiv,
    flat,
    power_of_two_from,
    smaller_blocks,
    strides,
    wide,
)
from magnet_kernels.triton.values import bilinear_tap, blend, narrow, widen


class Tile(NamedTuple):
    """What a program takes at a time: ``planes`` classes of ``pixels`` pixels; and the registers a thread may have."""

    planes: int
    pixels: int
    num_warps: int
    maxnreg: int | None = None


def tile_of(x: Tensor, pixels: int, upsample: bool = False, scattered: bool = False, aligned: bool = True) -> Tile:
    """The tile of maps such as ``x``, whose programs share out ``pixels`` pixels, made larger or not.

    scattered: they do not follow each other. aligned: where they do, loads of 16 bytes are possible.

    Planes: each thread has 16 bytes of some planes in flight, of pixels side by side, so that all that is done over the
    classes stays in the thread. Where what it reads does not lie side by side, four pixels of one plane: of several
    planes, compilers up to Triton 3.6 would give the classes to different lanes. Pixels of consecutive classes: whole
    pixels, the classes across lanes.
    """
    if x.stride(1) == 1 and x.stride(3) != 1 and x.shape[1] > 1:
        planes = min(power_of_two_from(x.shape[1]), 128)
        return Tile(planes, max(512 // planes, 4), 4) if scattered else Tile(planes, 1024 // planes, 8)
    in_a_row = x.stride(3) == 1 and not (scattered or upsample)
    a_warp = 32 * (16 // x.element_size() if in_a_row and aligned else 4)
    block = smaller_blocks(4 * a_warp, a_warp, pixels, x.device)
    planes = 1 if not in_a_row else 4 if x.element_size() > 2 else 2
    return Tile(planes, block, block // a_warp, 128 if in_a_row else None)


@functools.lru_cache  # making two tensors takes as long as the rest of a launch
def _scale_of(size: int, larger: int) -> float:
    """What kernels upsample an axis by, rounded to fp32 as torch does."""
    return float(torch.tensor(size, dtype=torch.float32) / larger)


class Pass(NamedTuple):
    """What launches of a pass over maps have in common: the programs, and arguments by their names."""

    programs: int
    arguments: dict[str, Any]


def pass_over(
    like: Tensor, result: Tensor, from_logits: bool, mask: Tensor | None = None, **named: Tensor | None
) -> Pass:
    """The pass that makes ``result`` (N, 1, H, W) of maps, in tiles for maps such as ``like``.

    named: the first of (N, C, h, w), upsampled where it is smaller; others of the size of ``result``, where they exist.
    """
    (name, first), *others = named.items()
    assert first is not None
    n, _, height, width = result.shape
    upsample = first.shape[2:] != result.shape[2:]
    maps = [x for x in (*dict(others).values(), mask) if x is not None]
    in_one_row = flat(*maps) if upsample else flat(first, *maps)
    aligned = alignment(in_one_row, height, width, **named)
    tile = tile_of(like, n * height * width, upsample, aligned=aligned["ALIGNED"])
    blocks = cdiv(height * width, tile.pixels)
    arguments = {
        **strides(**named),
        **aligned,
        "classes": first.shape[1],
        "pixels": height * width,
        "width": width,
        "small_height": first.shape[2],
        "small_width": first.shape[3],
        "scale_y": _scale_of(first.shape[2], height),
        "scale_x": _scale_of(first.shape[3], width),
        "blocks": blocks,
        "LOGITS": from_logits,
        "UPSAMPLE": upsample,
        "FLAT": in_one_row,
        "WIDE": wide(first, *maps),
        "PLANES": tile.planes,
        "PIXELS": tile.pixels,
        "num_warps": tile.num_warps,
        "maxnreg": tile.maxnreg,
    }
    if upsample:  # its pixels are not read side by side
        arguments[f"{name.upper()}_ALIGNED"] = False
    return Pass(n * blocks, arguments)


@triton.jit
def pixel_offsets(index, width, row_stride, column_stride, FLAT: tl.constexpr, WIDE: tl.constexpr):
    """Offsets of pixels, given as y * width + x."""
    if WIDE:
        index = index.to(tl.int64)
    if FLAT:
        return index * column_stride
    else:
        y = index // width
        return y * row_stride + (index - y * width) * column_stride


@triton.jit
def margins(
    x,
    plane_stride,
    row_stride,
    column_stride,
    classes,
    index,
    exists,
    width,
    LOGITS: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    PIXELS: tl.constexpr,
    UPSAMPLE: tl.constexpr = False,
    small_height=0,
    small_width=0,
    scale_y=0.0,
    scale_x=0.0,
    COPY: tl.constexpr = False,
    copy=None,
    copy_plane_stride=0,
    copy_row_stride=0,
    copy_column_stride=0,
):
    """Top-1 minus top-2 of pixels ``index`` of the image at ``x``, 0 where that is not a number. No zero has a sign.

    UPSAMPLE: the image is small_height x small_width and upsampled as it is loaded. COPY: what was loaded goes to
    ``copy``. WIDE: offsets need 64 bits.
    """
    if UPSAMPLE:
        row = index // width
        column = index - row * width
        low_y, step_y, weight_y = bilinear_tap(row, scale_y, small_height)
        low_x, step_x, weight_x = bilinear_tap(column, scale_x, small_width)
        if WIDE:
            low_y = low_y.to(tl.int64)
            low_x = low_x.to(tl.int64)
            step_y = step_y.to(tl.int64)
            step_x = step_x.to(tl.int64)
        place = low_y * row_stride + low_x * column_stride
        down = (step_y * row_stride)[None, :]
        right = (step_x * column_stride)[None, :]
        weight_y = weight_y[None, :]
        weight_x = weight_x[None, :]
    else:
        place = pixel_offsets(index, width, row_stride, column_stride, FLAT, WIDE)
    if COPY:
        copy_place = pixel_offsets(index, width, copy_row_stride, copy_column_stride, FLAT, WIDE)
    first = tl.full([PIXELS], float("-inf"), tl.float32)
    second = tl.full([PIXELS], float("-inf"), tl.float32)
    total = tl.full([PIXELS], 0.0, tl.float32)
    nans = tl.full([PIXELS], 0, tl.int32)
    for begin in range(0, classes, PLANES):
        plane = begin + tl.arange(0, PLANES)
        valid = (plane < classes)[:, None] & exists[None, :]
        if WIDE:
            plane = plane.to(tl.int64)
        at = x + ((plane * plane_stride)[:, None] + place[None, :])
        stored = tl.load(at, mask=valid, other=0.0)
        value = widen(stored)
        if UPSAMPLE:
            lower = widen(tl.load(at + down, mask=valid, other=0.0))
            value = blend(value, lower, weight_y)
            upper = widen(tl.load(at + right, mask=valid, other=0.0))
            lower = widen(tl.load(at + right + down, mask=valid, other=0.0))
            value = blend(value, blend(upper, lower, weight_y), weight_x)
            stored = narrow(value, x.dtype.element_ty)
            value = widen(stored)
        if COPY:
            tl.store(copy + ((plane * copy_plane_stride)[:, None] + copy_place[None, :]), stored, mask=valid)

        is_nan = value != value
        nans = nans | tl.max((valid & is_nan).to(tl.int32), axis=0)
        value = tl.where(valid & (value == value), value, float("-inf"))
        highest = tl.max(value, axis=0)
        is_highest = value == highest[None, :]
        next_highest = tl.max(tl.where(is_highest, float("-inf"), value), axis=0)
        next_highest = tl.where(tl.sum(is_highest.to(tl.int32), axis=0) > 1, highest, next_highest)
        second = tl.maximum(tl.maximum(second, next_highest), tl.minimum(first, highest))
        before = first
        first = tl.maximum(first, highest)
        if LOGITS:
            shift = tl.where(first == float("-inf"), 0.0, first)
            total = total * tl.exp(before - shift) + tl.sum(tl.exp(value - shift[None, :]), axis=0)
    if LOGITS:
        shift = tl.where(first == float("-inf"), 0.0, first)
        margin = (tl.exp(first - shift) - tl.exp(second - shift)) / total
    else:
        margin = first - second
    return tl.where((nans != 0) | (margin != margin), 0.0, margin + 0.0)  # -0 + 0 is 0
