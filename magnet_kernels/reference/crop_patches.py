"""crop_patches: RoIAlign with adaptive sampling, one axis after the other."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from magnet_kernels import _checks
from magnet_kernels.reference.refine_step import map_format


class _Axis(NamedTuple):
    """Where the samples of one axis of a box fall: ``pixel`` and ``weight`` (output size, samples * 2)."""

    pixel: Tensor
    weight: Tensor

    @property
    def window(self) -> slice:
        """The source pixels that carry weight."""
        used = self.pixel[self.weight != 0]
        return slice(int(used.min()), int(used.max()) + 1) if used.numel() else slice(0, 0)


def _axis(start: Tensor, end: Tensor, size: int, output_size: int, aligned: bool) -> _Axis:
    """Bilinear taps of the samples between ``start`` and ``end`` (0-d, the type to compute in).

    Each output pixel averages ceil(box size / output size) samples, spread evenly; a sample more than one pixel outside
    the map is 0, one less far outside takes the border's value. The number of samples comes from the size in the
    type to compute in, where a size that is whole but for rounding is whole; their places are in float64.
    """
    offset = 0.5 if aligned else 0.0
    start, end = start - offset, end - offset
    extent = end - start if aligned else (end - start).clamp(min=1.0)
    samples = max(math.ceil((extent / output_size).item()), 0)
    bin_size = extent.item() / output_size
    bins = torch.arange(output_size, device=start.device, dtype=torch.float64)[:, None]
    steps = torch.arange(samples, device=start.device, dtype=torch.float64) + 0.5
    position = start.item() + bins * bin_size + steps * bin_size / samples
    inside = (position >= -1) & (position <= size)
    position = position.clamp(0, size - 1)
    low = position.long()
    fraction = position - low
    weight = (torch.stack((1 - fraction, fraction), dim=-1) * inside[..., None] / samples).to(start.dtype)
    index = torch.stack((low, (low + 1).clamp(max=size - 1)), dim=-1)
    return _Axis(index.flatten(1), weight.flatten(1))


def _reduce(x: Tensor, dim: int, axis: _Axis, first: int) -> Tensor:
    """Weighted sums of ``x`` along ``dim``, which begins at source pixel ``first``; what has no weight is not read."""
    used = axis.weight.flatten() != 0
    index = torch.where(used, axis.pixel.flatten() - first, 0)
    shape = [-1 if d == dim else 1 for d in range(x.dim())]
    taken = torch.where(used.view(shape), x.index_select(dim, index), 0.0) * axis.weight.flatten().view(shape)
    return taken.unflatten(dim, axis.pixel.shape).sum(dim + 1)


def _expand(grad: Tensor, dim: int, axis: _Axis, size: int) -> Tensor:
    """The adjoint of ``_reduce``."""
    shape = [-1 if d == dim else 1 for d in range(grad.dim())]
    parts = grad.repeat_interleave(axis.pixel.shape[1], dim=dim) * axis.weight.flatten().view(shape)
    result = grad.new_zeros([size if d == dim else n for d, n in enumerate(grad.shape)])
    return result.index_add(dim, axis.pixel.flatten(), parts)


def _axes(box: Tensor, size: tuple[int, ...], output_size: tuple[int, ...], aligned: bool) -> tuple[_Axis, _Axis]:
    """Rows and columns of one box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    return _axis(y0, y1, size[0], output_size[0], aligned), _axis(x0, x1, size[1], output_size[1], aligned)


def crop_patches(x: Tensor, boxes: Tensor, height: int, width: int, aligned: bool) -> Tensor:
    """(N, C, H, W), (P, 5) -> (P, C, height, width) in the type and layout of ``x``."""
    _checks.check_box_values(boxes, x.shape[0])
    wide = torch.promote_types(x.dtype, torch.float32)
    result = torch.empty(
        (boxes.shape[0], x.shape[1], height, width), dtype=x.dtype, device=x.device, memory_format=map_format(x)
    )
    for p, box in enumerate(boxes.detach().to(x.device)):
        rows, columns = _axes(box[1:].to(wide), tuple(x.shape[2:]), (height, width), aligned)
        window = x[int(box[0])][:, rows.window, columns.window].to(wide)
        if window.numel() == 0:
            result[p] = 0.0
            continue
        window = _reduce(window, 1, rows, rows.window.start)
        result[p] = _reduce(window, 2, columns, columns.window.start)
    return result


def crop_patches_backward(
    grad: Tensor, boxes: Tensor, batch_size: int, height: int, width: int, aligned: bool
) -> Tensor:
    """The adjoint: (P, C, h, w) -> (batch_size, C, height, width); boxes are added in their order."""
    _checks.check_box_values(boxes, batch_size)
    wide = torch.promote_types(grad.dtype, torch.float32)
    result = torch.zeros((batch_size, grad.shape[1], height, width), dtype=wide, device=grad.device)
    for patch, box in zip(grad, boxes.detach().to(grad.device), strict=True):
        rows, columns = _axes(box[1:].to(wide), (height, width), tuple(grad.shape[2:]), aligned)
        result[int(box[0])] += _expand(_expand(patch.to(wide), 2, columns, width), 1, rows, height)
    return result.to(grad.dtype)
