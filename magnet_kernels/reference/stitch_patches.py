"""stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from magnet_kernels import _checks
from magnet_kernels.reference.boxes import clipped_slices, rounded_boxes
from magnet_kernels.reference.refine_step import map_format

_Taps = tuple[Tensor, Tensor, Tensor]


def _taps(part: slice, start: int, resized: int, size: int, like: Tensor) -> _Taps:
    """Pixels low and high and the weight of high, for ``part`` of a patch that is resized from ``start`` on."""
    place = torch.arange(part.start - start, part.stop - start, device=like.device)
    if resized == size:
        return place, place, torch.zeros(len(place), dtype=like.dtype, device=like.device)
    scale = torch.tensor(size, dtype=like.dtype, device=like.device) / resized
    source = ((place.to(like.dtype) + 0.5) * scale - 0.5).clamp(min=0)
    low = source.long().clamp(max=size - 1)
    return low, (low + 1).clamp(max=size - 1), (source - low).clamp(max=1)


def _resize(x: Tensor, dim: int, taps: _Taps) -> Tensor:
    low, high, fraction = taps
    if low is high:
        return x.index_select(dim, low)
    fraction = fraction.view([-1 if d == dim else 1 for d in range(x.dim())])
    return x.index_select(dim, low) * (1 - fraction) + x.index_select(dim, high) * fraction


def _resize_backward(grad: Tensor, dim: int, taps: _Taps, size: int) -> Tensor:
    low, high, fraction = taps
    result = grad.new_zeros([size if d == dim else n for d, n in enumerate(grad.shape)])
    if low is high:
        return result.index_add(dim, low, grad)
    fraction = fraction.view([-1 if d == dim else 1 for d in range(grad.dim())])
    return result.index_add(dim, low, grad * (1 - fraction)).index_add(dim, high, grad * fraction)


def _places(
    boxes: Tensor, patch_size: tuple[int, ...], size: tuple[int, ...], like: Tensor
) -> Iterator[tuple[int, int, slice, slice, _Taps, _Taps]]:
    """(patch, image, rows, columns, taps of rows, taps of columns) of every patch that touches the map, in order."""
    for p, box in enumerate(rounded_boxes(boxes)):
        image, x0, y0, x1, y1 = box
        rows, columns = clipped_slices(box, *size)
        if rows.stop > rows.start:
            taps_y = _taps(rows, y0, y1 - y0, patch_size[0], like)
            yield p, image, rows, columns, taps_y, _taps(columns, x0, x1 - x0, patch_size[1], like)


def _cover_count(boxes: Tensor, size: tuple[int, ...], batch_size: int, like: Tensor) -> Tensor:
    """(N, 1, H, W): how many patches lie on each pixel."""
    count = torch.zeros((batch_size, 1, *size), dtype=like.dtype, device=like.device)
    for box in rounded_boxes(boxes):
        rows, columns = clipped_slices(box, *size)
        count[box[0], :, rows, columns] += 1
    return count


def stitch_patches(patches: Tensor, boxes: Tensor, height: int, width: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """(P, C, h, w), (P, 5) -> (batch_size, C, height, width) like ``patches``, (batch_size, 1, height, width) bool."""
    _checks.check_box_values(boxes, batch_size)
    like = patches.new_empty(0, dtype=torch.promote_types(patches.dtype, torch.float32))
    total = like.new_zeros((batch_size, patches.shape[1], height, width))
    for p, image, rows, columns, taps_y, taps_x in _places(boxes, tuple(patches.shape[2:]), (height, width), like):
        total[image, :, rows, columns] += _resize(_resize(patches[p].to(like.dtype), 1, taps_y), 2, taps_x)
    count = _cover_count(boxes, (height, width), batch_size, like)
    result = (total / count.clamp(min=1)).to(patches.dtype)
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
        result[p] = _resize_backward(_resize_backward(part, 2, taps_x, width), 1, taps_y, height)
    return result.to(grad.dtype)
