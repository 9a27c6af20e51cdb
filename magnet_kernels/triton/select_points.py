"""select_points: the K highest scores of each image, ties to the lowest index, in ascending order.

Keys are int32 of the order of the scores (values.py). Their K-th highest is found 8 bits at a time: each kernel counts
the next digit of those that have the digits found so far, and the kernel after it looks the digit up. Then blocks
count what they will list, one program an image adds the counts up, and blocks write the list from there. No program
waits for another; integers are added up, so that their order does not matter.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from magnet_kernels.reference import select_points as reference
from magnet_kernels.triton.digits import (
    BINS,
    BITS,
    DIGITS_OF_A_KEY,
    WORKSPACE,
    count_digits,
    first_digit,
    next_digit,
)
from magnet_kernels.triton.launch import (
    ALIGNMENT,
    MOST_PIXELS,
    UNSPECIALISED,
    alignment,
    as_bytes,
    cdiv,
    flat,
    launch,
    plane_strides,
    smaller_blocks,
    strides,
    wide,
)
from magnet_kernels.triton.margin import pixel_offsets
from magnet_kernels.triton.median_blur import launch_median
from magnet_kernels.triton.replace_points import launch_replace
from magnet_kernels.triton.values import KEY_OF_INVALID, multiple_of_16, order_key, selection_key, widen


# Budget: 64 registers, no spills; 4 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def key_kernel(
    score,
    mask,
    keys,
    workspace,
    score_n,
    score_h,
    score_w,
    mask_n,
    mask_h,
    mask_w,
    pixels,
    width,
    blocks,
    MASK: tl.constexpr,
    SCORE_ALIGNED: tl.constexpr,
    MASK_ALIGNED: tl.constexpr,
    ALIGNED: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Keys of scores, and counts of their first digit."""
    pixels = multiple_of_16(pixels, ALIGNED)
    width = multiple_of_16(width, ALIGNED and not FLAT)
    image = tl.program_id(0) // blocks
    index = (tl.program_id(0) - image * blocks) * PIXELS + tl.arange(0, PIXELS)
    exists = index < pixels
    image = image.to(tl.int64)
    score += image * multiple_of_16(score_n, SCORE_ALIGNED)
    score_h = multiple_of_16(score_h, SCORE_ALIGNED)
    score += pixel_offsets(index, width, score_h, multiple_of_16(score_w, SCORE_ALIGNED), FLAT, WIDE)
    value = widen(tl.load(score, mask=exists, other=0.0))
    valid = exists
    if MASK:
        mask += image * multiple_of_16(mask_n, MASK_ALIGNED)
        mask_h = multiple_of_16(mask_h, MASK_ALIGNED)
        mask += pixel_offsets(index, width, mask_h, multiple_of_16(mask_w, MASK_ALIGNED), FLAT, WIDE)
        valid = tl.load(mask, mask=exists, other=0) != 0
    key = selection_key(order_key(value), valid)
    tl.store(keys + image * pixels + index, key, mask=exists)
    count_digits(workspace + image * WORKSPACE, tl.where(exists, first_digit(key), -1))


# Budget: 64 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def digit_kernel(
    keys, workspace, n_points, pixels, blocks, DIGITS: tl.constexpr, ALIGNED: tl.constexpr, PIXELS: tl.constexpr
):
    """Counts the digit after the first DIGITS (1 to 3) of keys that have those of the K-th highest."""
    pixels = multiple_of_16(pixels, ALIGNED)
    image = tl.program_id(0) // blocks
    block = tl.program_id(0) - image * blocks
    index = block * PIXELS + tl.arange(0, PIXELS)
    exists = index < pixels
    image = image.to(tl.int64)
    workspace += image * WORKSPACE
    key = tl.load(keys + image * pixels + index, mask=exists, other=0)
    prefix, _ = next_digit(workspace, n_points, block, DIGITS)
    alike = (key >> (32 - DIGITS * BITS)) == prefix
    digit = (key >> (32 - (DIGITS + 1) * BITS)) & (BINS - 1)
    count_digits(workspace + DIGITS * BINS, tl.where(exists & alike, digit, -1))


# Budget: 48 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def count_kernel(keys, workspace, counts, n_points, pixels, blocks, ALIGNED: tl.constexpr, PIXELS: tl.constexpr):
    """For each block: how many keys lie above the K-th highest, and how many are equal to it, into counts (N, 2, B)."""
    pixels = multiple_of_16(pixels, ALIGNED)
    image = tl.program_id(0) // blocks
    block = tl.program_id(0) - image * blocks
    index = block * PIXELS + tl.arange(0, PIXELS)
    image = image.to(tl.int64)
    workspace += image * WORKSPACE
    key = tl.load(keys + image * pixels + index, mask=index < pixels, other=KEY_OF_INVALID)
    threshold, _ = next_digit(workspace, n_points, block, DIGITS_OF_A_KEY)
    above = tl.sum((key > threshold).to(tl.int32), axis=0)
    equal = tl.sum(((key == threshold) & (key != KEY_OF_INVALID)).to(tl.int32), axis=0)
    counts += image * 2 * blocks + block
    tl.store(counts, above)
    tl.store(counts + blocks, equal)


# Budget: 40 registers, no spills; 1 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def scan_kernel(counts, blocks, BLOCKS: tl.constexpr):
    """In place: what the blocks before have counted. A program for each of the two rows of each image."""
    counts += tl.program_id(0).to(tl.int64) * blocks
    total = 0
    for begin in range(0, blocks, BLOCKS):
        at = begin + tl.arange(0, BLOCKS)
        count = tl.load(counts + at, mask=at < blocks, other=0)
        tl.store(counts + at, total + tl.cumsum(count, axis=0) - count, mask=at < blocks)
        total += tl.sum(count, axis=0)


# Budget: 96 registers, no spills; 4 KiB shared memory.
@triton.jit(**UNSPECIALISED)
def list_kernel(
    keys,
    workspace,
    counts,
    points,
    fine,
    target,
    fine_n,
    fine_c,
    fine_h,
    fine_w,
    target_n,
    target_c,
    target_h,
    target_w,
    n_points,
    classes,
    pixels,
    width,
    blocks,
    REPLACE: tl.constexpr,
    FINE_ALIGNED: tl.constexpr,
    TARGET_ALIGNED: tl.constexpr,
    ALIGNED: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Writes the points of a block. REPLACE: and the values of ``fine`` there into ``target``."""
    pixels = multiple_of_16(pixels, ALIGNED)
    width = multiple_of_16(width, ALIGNED and not FLAT)
    image = tl.program_id(0) // blocks
    block = tl.program_id(0) - image * blocks
    index = block * PIXELS + tl.arange(0, PIXELS)
    image = image.to(tl.int64)
    key = tl.load(keys + image * pixels + index, mask=index < pixels, other=KEY_OF_INVALID)
    threshold = tl.load(workspace + image * WORKSPACE + WORKSPACE - 2)
    wanted = tl.load(workspace + image * WORKSPACE + WORKSPACE - 1)
    above_before = tl.load(counts + image * 2 * blocks + block)
    equal_before = tl.load(counts + image * 2 * blocks + blocks + block)
    equal = (key == threshold) & (key != KEY_OF_INVALID)
    tie = equal_before + tl.cumsum(equal.to(tl.int32), axis=0)
    chosen = (key > threshold) | (equal & (tie <= wanted))
    place = above_before + tl.minimum(equal_before, wanted) + tl.cumsum(chosen.to(tl.int32), axis=0) - 1
    tl.store(points + image * n_points + place, index.to(tl.int64), mask=chosen)
    if REPLACE:
        fine += image * multiple_of_16(fine_n, FINE_ALIGNED)
        target += image * multiple_of_16(target_n, TARGET_ALIGNED)
        fine_c = multiple_of_16(fine_c, FINE_ALIGNED)
        target_c = multiple_of_16(target_c, TARGET_ALIGNED)
        fine_h = multiple_of_16(fine_h, FINE_ALIGNED)
        target_h = multiple_of_16(target_h, TARGET_ALIGNED)
        fine += pixel_offsets(index, width, fine_h, multiple_of_16(fine_w, FINE_ALIGNED), FLAT, WIDE)
        target += pixel_offsets(index, width, target_h, multiple_of_16(target_w, TARGET_ALIGNED), FLAT, WIDE)
        for plane in range(0, classes):
            step = tl.cast(plane, tl.int64) if WIDE else plane
            tl.store(target + step * target_c, tl.load(fine + step * fine_c, mask=chosen), mask=chosen)


def block_of(pixels: int, device: torch.device) -> int:
    """Pixels of a program: 16 a thread."""
    return smaller_blocks(2048, 512, pixels, device)


class Selection:
    """The K-th highest of each image, searched in the memory that one call needs."""

    def __init__(self, like: Tensor, shape: tuple[int, int, int], n_points: int) -> None:
        self.n, self.height, self.width = shape
        self.pixels, self.n_points = self.height * self.width, n_points
        self.block = block_of(self.n * self.pixels, like.device)
        self.blocks = cdiv(self.pixels, self.block)
        self.keys = like.new_empty((self.n, 1, self.height, self.width), dtype=torch.int32)
        self.workspace = like.new_zeros((self.n, WORKSPACE.value), dtype=torch.int32)

    def put(self, score: Tensor, mask: Tensor | None) -> None:
        """Take scores (N, 1, H, W) of any strides."""
        maps = (score,) if mask is None else (score, mask)
        launch(
            key_kernel,
            self.n * self.blocks,
            score=score,
            mask=as_bytes(mask),
            keys=self.keys,
            workspace=self.workspace,
            **plane_strides(score=score, mask=mask),
            **alignment(flat(*maps), self.height, self.width, score=score, mask=mask),
            pixels=self.pixels,
            width=self.width,
            blocks=self.blocks,
            MASK=mask is not None,
            FLAT=flat(*maps),
            WIDE=wide(*maps),
            PIXELS=self.block,
        )

    def put_medians(self, score: Tensor, kernel_size: int, mask: Tensor | None) -> None:
        """Take the medians of scores (N, 1, H, W)."""
        if kernel_size in (3, 5):
            launch_median(score, self.keys, kernel_size, mask, self.workspace)
        elif kernel_size == 1:
            self.put(score, mask)
        else:
            medians = torch.empty_like(score)
            launch_median(score, medians, kernel_size)
            self.put(medians, mask)

    def list(self, may_run_out: bool, fine: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """The points; with the values of ``fine`` there put into ``target``, maps (N, C, H, W), on the way.

        may_run_out: of valid pixels.
        """
        shape = (self.n, self.n_points)
        points = self.keys.new_empty(shape, dtype=torch.int64)
        if may_run_out:
            points.fill_(-1)
        programs = self.n * self.blocks
        for digits in range(1, DIGITS_OF_A_KEY.value):
            launch(
                digit_kernel,
                programs,
                keys=self.keys,
                workspace=self.workspace,
                n_points=self.n_points,
                pixels=self.pixels,
                blocks=self.blocks,
                DIGITS=digits,
                ALIGNED=self.pixels % ALIGNMENT == 0,
                PIXELS=self.block,
                num_warps=8,
            )
        counts = self.keys.new_empty((self.n, 2, self.blocks))
        launch(
            count_kernel,
            programs,
            keys=self.keys,
            workspace=self.workspace,
            counts=counts,
            n_points=self.n_points,
            pixels=self.pixels,
            blocks=self.blocks,
            ALIGNED=self.pixels % ALIGNMENT == 0,
            PIXELS=self.block,
        )
        launch(scan_kernel, 2 * self.n, counts=counts, blocks=self.blocks, BLOCKS=512)
        replace = fine is not None and target is not None
        last = replace and target.stride(1) == 1 and target.shape[1] > 1  # type: ignore[union-attr]
        maps = [m for m in (fine, target) if m is not None]
        launch(
            list_kernel,
            programs,
            keys=self.keys,
            workspace=self.workspace,
            counts=counts,
            points=points,
            fine=fine,
            target=target,
            **strides(fine=fine, target=target),
            n_points=self.n_points,
            classes=0 if fine is None else fine.shape[1],
            pixels=self.pixels,
            width=self.width,
            blocks=self.blocks,
            REPLACE=replace and not last,
            **alignment(flat(*maps), self.height, self.width, fine=fine, target=target),
            FLAT=flat(*maps),
            WIDE=wide(*maps),
            PIXELS=self.block,
            num_warps=8,
        )
        if last:  # pixels of consecutive classes are taken one by one
            launch_replace(target, fine, points)  # type: ignore[arg-type]
        return points


def select_points(score: Tensor, mask: Tensor | None, n_points: int) -> Tensor:
    """(N, 1, H, W), mask (N, 1, H, W) -> (N, K) int64 flat indices; rows end in -1 where valid pixels run out."""
    n, _, height, width = score.shape
    if score.dtype == torch.float64 or height * width >= MOST_PIXELS:
        return reference.select_points(score, mask, n_points)
    if n == 0 or n_points == 0:
        return score.new_empty((n, n_points), dtype=torch.int64)
    selection = Selection(score, (n, height, width), n_points)
    selection.put(score, mask)
    return selection.list(mask is not None)
