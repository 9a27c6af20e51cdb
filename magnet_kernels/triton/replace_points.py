"""replace_points: the values of fine at the points, of coarse elsewhere."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.triton.launch import UNSPECIALISED, cdiv, flat, launch, power_of_two_from, strides, wide
from magnet_kernels.triton.margin import pixel_offsets


# Budget: 112 registers, no spills; 8 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def replace_kernel(
    fine,
    target,
    points,
    fine_n,
    fine_c,
    fine_h,
    fine_w,
    target_n,
    target_c,
    target_h,
    target_w,
    points_n,
    points_k,
    n_points,
    classes,
    pixels,
    width,
    blocks,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PLANES: tl.constexpr,
    POINTS: tl.constexpr,
):
    """Points outside the map replace nothing."""
    image = tl.program_id(0) // blocks
    which = (tl.program_id(0) - image * blocks) * POINTS + tl.arange(0, POINTS)
    image = image.to(tl.int64)
    point = tl.load(points + image * points_n + which.to(tl.int64) * points_k, mask=which < n_points, other=-1)
    exists = (point >= 0) & (point < pixels)
    point = tl.where(exists, point, 0)
    if not WIDE:
        point = point.to(tl.int32)
    source = pixel_offsets(point, width, fine_h, fine_w, FLAT, WIDE)[None, :]
    destination = pixel_offsets(point, width, target_h, target_w, FLAT, WIDE)[None, :]
    fine += image * fine_n
    target += image * target_n
    for begin in range(0, classes, PLANES):
        plane = begin + tl.arange(0, PLANES)[:, None]
        wanted = (plane < classes) & exists[None, :]
        if WIDE:
            plane = plane.to(tl.int64)
        value = tl.load(fine + (plane * fine_c + source), mask=wanted)
        tl.store(target + (plane * target_c + destination), value, mask=wanted)


def tile_of(target: Tensor) -> tuple[int, int]:
    """(classes, points) at a time: whole pixels where their classes are side by side."""
    if target.stride(1) == 1 and target.shape[1] > 1:
        planes = min(power_of_two_from(target.shape[1]), 128)
        return planes, max(2048 // planes, 16)
    return 8, 128


def launch_replace(target: Tensor, fine: Tensor, points: Tensor) -> None:
    """Values of ``fine`` at ``points`` into ``target``, both (N, C, H, W)."""
    n, n_points = points.shape
    if fine.numel() == 0:
        return
    planes, block = tile_of(target)
    blocks = cdiv(n_points, block)
    launch(
        replace_kernel,
        n * blocks,
        fine=fine,
        target=target,
        points=points,
        **strides(fine=fine, target=target),
        points_n=points.stride(0),
        points_k=points.stride(1),
        n_points=n_points,
        classes=fine.shape[1],
        pixels=fine.shape[2] * fine.shape[3],
        width=fine.shape[3],
        blocks=blocks,
        FLAT=flat(fine, target),
        WIDE=wide(fine, target),
        PLANES=planes,
        POINTS=block,
    )


def replace_points(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    """(N, C, H, W) twice, (N, K) -> (N, C, H, W) in the layout of ``coarse``."""
    refined = torch.empty_like(coarse).copy_(coarse)
    launch_replace(refined, fine, points)
    return refined


def replace_points_(coarse: Tensor, fine: Tensor, points: Tensor) -> None:
    """In place; pixels that are not chosen keep their values."""
    if coarse is not fine:
        launch_replace(coarse, fine, points)
