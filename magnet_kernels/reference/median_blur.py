"""median_blur: the median of a square window, zero padded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from magnet_kernels.reference.keys import order_keys


def median_blur(x: Tensor, kernel_size: int = 3) -> Tensor:
    """(N, C, H, W) -> same shape and type. Ordered as ``order_keys``: NaN lowest, so a few of them do not spread."""
    if kernel_size == 1 or x.numel() == 0:
        return x.clone()
    windows = _windows(x, kernel_size)
    keys = order_keys(windows.detach())
    middle = keys.sort(dim=-1).values[..., kernel_size**2 // 2]
    position = (keys == middle[..., None]).int().argmax(dim=-1, keepdim=True)  # the first of equal values
    return windows.gather(-1, position).squeeze(-1)


def median_blur_in_layout(x: Tensor, kernel_size: int = 3) -> Tensor:
    """As ``median_blur``, in the memory layout of ``x``, as the operator promises it."""
    return torch.empty_like(x).copy_(median_blur(x, kernel_size))


def _windows(x: Tensor, kernel_size: int) -> Tensor:
    r = kernel_size // 2
    padded = F.pad(x, (r, r, r, r))
    return padded.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1).flatten(-2)


def median_blur_backward(grad: Tensor, x: Tensor, blurred: Tensor, kernel_size: int) -> Tensor:
    """Gradient with respect to ``x``: each output's goes to the first pixel of its window that holds the median."""
    if kernel_size == 1:
        return grad
    h, w = x.shape[-2:]
    r = kernel_size // 2
    keys = F.pad(order_keys(x.detach()), (r, r, r, r))  # the key of +0 is 0
    middle = order_keys(blurred.detach())
    result = torch.zeros_like(F.pad(x, (r, r, r, r)))
    pending = torch.ones_like(middle, dtype=torch.bool)
    for dy in range(kernel_size):
        for dx in range(kernel_size):
            hit = pending & (keys[..., dy : dy + h, dx : dx + w] == middle)
            result[..., dy : dy + h, dx : dx + w] += torch.where(hit, grad, 0.0)
            pending = pending & ~hit
    return result[..., r : r + h, r : r + w].contiguous()
