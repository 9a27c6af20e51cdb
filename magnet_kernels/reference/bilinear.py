"""Bilinear resizing (align_corners=False), one axis after the other.

A tap of weight 0 is not read: where an output lies on a pixel, that pixel's value is taken as it is. So an infinity or
a NaN beside it does not spread, and -0 stays -0. Elsewhere it is low * (1 - weight) + high * weight, rows before
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from magnet_kernels.reference.division import divided


class Taps(NamedTuple):
    """The pixels that the outputs of an axis lie between, all (outputs,), and the weight of ``high``, in [0, 1)."""

    low: Tensor
    high: Tensor
    weight: Tensor

    def along(self, dim: int, dims: int) -> Tensor:
        """``weight``, for tensors of ``dims`` dimensions."""
        return self.weight.view([-1 if d == dim else 1 for d in range(dims)])


def bilinear_taps(outputs: Tensor, size: int, resized: int, dtype: torch.dtype) -> Taps:
    """Of some of the ``resized`` outputs, by index, over ``size`` pixels. ``dtype``: to compute in."""
    if resized == size:
        return Taps(outputs, outputs, torch.zeros(len(outputs), dtype=dtype, device=outputs.device))
    scale = divided(outputs.new_full((), size, dtype=dtype), resized)
    source = ((outputs.to(dtype) + 0.5) * scale - 0.5).clamp(min=0)
    low = source.long().clamp(max=size - 1)
    weight = source - low
    weight = torch.where(weight < 1, weight, 0.0)  # by rounding, beyond the last pixel
    return Taps(low, torch.where(weight == 0, low, (low + 1).clamp(max=size - 1)), weight)


def _take(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return x[..., index] if dim == x.dim() - 1 else x.index_select(dim, index)  # three times faster there


def resize_axis(x: Tensor, dim: int, taps: Taps) -> Tensor:
    """``x`` resized along ``dim``."""
    low = _take(x, dim, taps.low)
    if taps.low is taps.high:
        return low
    weight = taps.along(dim, x.dim())
    return torch.where(weight == 0, low, low * (1 - weight) + _take(x, dim, taps.high) * weight)


def resize_axis_backward(grad: Tensor, dim: int, taps: Taps, size: int) -> Tensor:
    """The adjoint of ``resize_axis`` for an axis of ``size`` pixels; nothing goes to a pixel without weight."""
    result = grad.new_zeros([size if d == dim else n for d, n in enumerate(grad.shape)])
    if taps.low is taps.high:
        return result.index_add(dim, taps.low, grad)
    weight = taps.along(dim, grad.dim())
    result = result.index_add(dim, taps.low, grad * (1 - weight))
    return result.index_add(dim, taps.high, torch.where(weight == 0, 0.0, grad * weight))


def map_taps(size: Sequence[int], resized: Sequence[int], like: Tensor) -> tuple[Taps, Taps]:
    """Rows and columns of a map (.., H, W) of ``size`` that is made ``resized``, in the type of ``like``."""
    rows, columns = (
        bilinear_taps(torch.arange(to, device=like.device), n, to, like.dtype)
        for n, to in zip(size, resized, strict=True)
    )
    return rows, columns
