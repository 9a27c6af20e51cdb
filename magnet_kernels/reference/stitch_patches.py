"""stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from magnet_kernels import _checks
from magnet_kernels.reference.bilinear import Taps, bilinear_taps, resize_axis, resize_axis_backward
from magnet_kernels.reference.boxes import clipped_slices, rounded_boxes
from magnet_kernels.reference.refine_step import map_format


def _offsets(part: slice, start: int, like: Tensor) -> Tensor:
    return torch.arange(part.start - start, part.stop - start, device=like.device)


def _places(
    boxes: Tensor, patch_size: tuple[int, ...], size: tuple[int, ...], like: Tensor
) -> Iterator[tuple[int, int, slice, slice, Taps, Taps]]:
    """(patch, image, rows, columns, taps of rows, taps of columns) of every patch that touches the map, in order."""
    for p, box in enumerate(rounded_boxes(boxes)):
        image, x0, y0, x1, y1 = box
        rows, columns = clipped_slices(box, *size)
        if rows.stop > rows.start:
            yield (
                *(p, image, rows, columns),
                bilinear_taps(_offsets(rows, y0, like), patch_size[0], y1 - y0, like.dtype),
                bilinear_taps(_offsets(columns, x0, like), patch_size[1], x1 - x0, like.dtype),
            )


def _cover_count(boxes: Tensor, size: tuple[int, ...], batch_size: int, like: Tensor) -> Tensor:
    """(N, 1, H, W): how many patches lie on each pixel."""
    count = torch.zeros((batch_size, 1, *size), dtype=like.dtype, device=like.device)
    for box in rounded_boxes(boxes):
        rows, columns = clipped_slices(box, *size)
        count[box[0], :, rows, columns] += 1
    return count


def stitch_patches(patches: Tensor, boxes: Tensor, height: int, width: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """(P, C, h, w), (P, 5) -> (batch_size, C, height, width) like ``patches``, (batch_size, 1, height, width) bool.

    0 where no patch lies; elsewhere the mean, whose sum begins with the first patch, so that -0 stays -0.
    """
    _checks.check_box_values(boxes, batch_size)
    like = patches.new_empty(0, dtype=torch.promote_types(patches.dtype, torch.float32))
    total = like.new_full((batch_size, patches.shape[1], height, width), -0.0)  # the zero that adding never changes
    for p, image, rows, columns, taps_y, taps_x in _places(boxes, tuple(patches.shape[2:]), (height, width), like):
        total[image, :, rows, columns] += resize_axis(resize_axis(patches[p].to(like.dtype), 1, taps_y), 2, taps_x)
    count = _cover_count(boxes, (height, width), batch_size, like)
    result = torch.where(count > 0, total / count, 0.0).to(patches.dtype)
    return result.contiguous(memory_format=map_format(patches)), count > 0


def stitch_patches_backward(grad: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """The adjoint: (N, C, H, W) -> (P, C, height, width)."""
    _checks.check_box_values(boxes, grad.shape[0])
    like = grad.new_empty(0, dtype=torch.promote_types(grad.dtype, torch.float32))
    size = tuple(grad.shape[2:])
    share = grad.to(like.dtype) / _cover_count(boxes, size, grad.shape[0], like).clamp(min=1)
    result = like.new_zeros((boxes.shape[0], grad.shape[1], height, width))
    for p, image, rows, columns, taps_y, taps_x in _places(boxes, (height, width), size, like):
        part = share[image, :, rows, columns]
        result[p] = resize_axis_backward(resize_axis_backward(part, 2, taps_x, width), 1, taps_y, height)
    return result.to(grad.dtype)
