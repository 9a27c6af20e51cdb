"""crop_patches: RoIAlign with adaptive sampling, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from magnet_kernels import _checks
from magnet_kernels.reference.division import divided
from magnet_kernels.reference.refine_step import map_format

_AT_ONCE = 2**20  # values between the two axes, so that a patch takes little memory beside itself


class _Axis(NamedTuple):
    """The pixels that the ``outputs`` of one axis of a box read: ``weight`` (outputs, most), from ``first`` on.

    Outputs beyond them read nothing. A tap of weight 0 is not read: an infinity or a NaN there does not spread.
    """

    outputs: slice
    first: Tensor
    weight: Tensor

    @property
    def window(self) -> slice:
        """The source pixels that carry weight."""
        outputs, steps = (self.weight != 0).nonzero(as_tuple=True)
        used = self.first[outputs] + steps
        return slice(int(used.min()), int(used.max()) + 1) if used.numel() else slice(0, 0)

    def moved(self, by: int) -> _Axis:
        return self._replace(first=self.first + by)

    def on(self, device: torch.device) -> _Axis:
        return self._replace(first=self.first.to(device), weight=self.weight.to(device))

    def parts(self, length: int) -> Iterator[_Axis]:
        """The same for ``length`` outputs at a time."""
        for i in range(0, len(self.first), length):
            first, weight, start = self.first[i : i + length], self.weight[i : i + length], self.outputs.start + i
            yield _Axis(slice(start, start + len(first)), first, weight)


def _axis(start: Tensor, end: Tensor, size: int, output_size: int, aligned: bool) -> _Axis:
    """Bilinear taps of the samples between ``start`` and ``end`` (0-d, the type to compute in), added up by pixel.

    Each output pixel averages ceil(box size / output size) samples, spread evenly; a sample more than one pixel outside
    the map is 0, one less far outside takes the border's value. The number of samples comes from the size in the
    type to compute in, where a size that is whole but for rounding is whole; their places and weights are in float64.
    Samples that are certainly outside are not listed, so that a box may be of any size. All this is done on the CPU:
    a GPU adds up the samples of a pixel in an order of its own.
    """
    offset = 0.5 if aligned else 0.0
    start, end = start - offset, end - offset
    extent = end - start if aligned else (end - start).clamp(min=1.0)
    samples = max(math.ceil(divided(extent, output_size).item()), 0)
    begin, bin_size = start.item(), extent.item() / output_size
    low, high = _around(begin, bin_size, size, output_size) if samples else (0, 0)
    if low >= high:
        return _Axis(slice(0, 0), start.new_zeros(0, dtype=torch.int64), start.new_zeros((0, 0)))
    bins = torch.arange(low, high, device=start.device, dtype=torch.float64)[:, None]
    spacing = bin_size / samples
    listed = min(samples, math.ceil((size + 1) / spacing) + 4)
    skipped = divided(-1 - begin - bins * bin_size, spacing).floor() - 2
    steps = skipped.clamp(0, samples - listed) + torch.arange(listed, device=start.device, dtype=torch.float64) + 0.5
    position = begin + bins * bin_size + divided(steps * bin_size, samples)
    inside = (position >= -1) & (position <= size)
    position = position.clamp(0, size - 1)
    pixel_below = position.long()
    fraction = position - pixel_below
    weight = divided(torch.stack((1 - fraction, fraction), dim=-1) * inside[..., None], samples).flatten(1)
    pixel = torch.stack((pixel_below, (pixel_below + 1).clamp(max=size - 1)), dim=-1).flatten(1)
    first = torch.where(weight != 0, pixel, size).amin(1, keepdim=True)
    place = torch.where(weight != 0, pixel - first, 0)
    sums = torch.zeros((high - low, int(place.max()) + 1), device=start.device, dtype=torch.float64)
    return _Axis(slice(low, high), first[:, 0], sums.scatter_add(1, place, weight).to(start.dtype))


def _around(begin: float, bin_size: float, size: int, output_size: int) -> tuple[int, int]:
    """The range of outputs that may have a sample inside the map."""
    low, high = math.floor((-1 - begin) / bin_size) - 1, math.ceil((size - begin) / bin_size) + 1
    return max(low, 0), min(high, output_size)


def _steps(axis: _Axis, dim: int, dims: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(pixels, weights) of the first pixel that each output reads, of the second, ...; pixel 0 where there is none."""
    shape = [-1 if d == dim else 1 for d in range(dims)]
    for k in range(axis.weight.shape[1]):
        weight = axis.weight[:, k]
        yield torch.where(weight != 0, axis.first + k, 0), weight.view(shape)


def _reduce(x: Tensor, dim: int, axis: _Axis) -> Tensor:
    """Weighted sums of ``x`` along ``dim``, pixel after pixel, in the weights' type; 0 where nothing has weight."""
    shape = [len(axis.first) if d == dim else n for d, n in enumerate(x.shape)]
    total = axis.weight.new_full(shape, -0.0)  # -0 is the zero that adding never changes
    for pixel, weight in _steps(axis, dim, x.dim()):
        total = torch.where(weight != 0, total + x.index_select(dim, pixel).to(total.dtype) * weight, total)
    shape = [-1 if d == dim else 1 for d in range(x.dim())]
    return torch.where((axis.weight != 0).any(1).view(shape), total, 0.0)


def _expand(grad: Tensor, dim: int, axis: _Axis, size: int) -> Tensor:
    """The adjoint of ``_reduce``, of all outputs."""
    result = grad.new_zeros([size if d == dim else n for d, n in enumerate(grad.shape)])
    grad = grad.narrow(dim, axis.outputs.start, len(axis.first))
    for pixel, weight in _steps(axis, dim, grad.dim()):
        result.index_add_(dim, pixel, torch.where(weight != 0, grad * weight, 0.0))
    return result


def _axes(box: Tensor, size: tuple[int, ...], output_size: tuple[int, ...], aligned: bool) -> tuple[_Axis, _Axis]:
    """Rows and columns of one box (x0, y0, x1, y1) of the CPU, there."""
    x0, y0, x1, y1 = box
    return _axis(y0, y1, size[0], output_size[0], aligned), _axis(x0, x1, size[1], output_size[1], aligned)


def crop_patches(x: Tensor, boxes: Tensor, height: int, width: int, aligned: bool) -> Tensor:
    """(N, C, H, W), (P, 5) -> (P, C, height, width) in the type and layout of ``x``."""
    boxes = boxes.detach().cpu()
    _checks.check_box_values(boxes, x.shape[0])
    wide = torch.promote_types(x.dtype, torch.float32)
    result = torch.empty(
        (boxes.shape[0], x.shape[1], height, width), dtype=x.dtype, device=x.device, memory_format=map_format(x)
    )
    for p, box in enumerate(boxes):
        rows, columns = _axes(box[1:].to(wide), tuple(x.shape[2:]), (height, width), aligned)
        image, patch = x[int(box[0])], result[p].fill_(0.0)
        window = columns.window
        if window == slice(0, 0):
            continue
        rows, columns = rows.on(x.device), columns.moved(-window.start).on(x.device)
        at_once = max(_AT_ONCE // (x.shape[1] * (window.stop - window.start)), 1)
        for part in rows.parts(at_once):
            patch[:, part.outputs, columns.outputs] = _reduce(_reduce(image[..., window], 1, part), 2, columns)
    return result


def crop_patches_backward(
    grad: Tensor, boxes: Tensor, batch_size: int, height: int, width: int, aligned: bool
) -> Tensor:
    """The adjoint: (P, C, h, w) -> (batch_size, C, height, width); boxes are added in their order."""
    boxes = boxes.detach().cpu()
    _checks.check_box_values(boxes, batch_size)
    wide = torch.promote_types(grad.dtype, torch.float32)
    result = torch.zeros((batch_size, grad.shape[1], height, width), dtype=wide, device=grad.device)
    for patch, box in zip(grad, boxes, strict=True):
        axes = _axes(box[1:].to(wide), (height, width), tuple(grad.shape[2:]), aligned)
        rows, columns = (axis.on(grad.device) for axis in axes)
        result[int(box[0])] += _expand(_expand(patch.to(wide), 2, columns, width), 1, rows, height)
    return result.to(grad.dtype)
