"""confidence: top-1 minus top-2 class probability."""

from __future__ import annotations

import torch
from torch import Tensor


def confidence(x: Tensor, from_logits: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W) float32; 0 where the difference is not a number. No zero has a sign."""
    x = x.float()
    if from_logits:
        x = x.softmax(dim=1)
    top = x.topk(2, dim=1).values
    margin = top[:, :1] - top[:, 1:]
    return torch.where(margin.isnan(), 0.0, margin + 0.0)  # -0 + 0 is 0


def confidence_backward(grad: Tensor, x: Tensor, from_logits: bool) -> Tensor:
    """Gradient with respect to ``x``: +1 to the highest class, -1 to the second, through the softmax for logits."""
    dtype, x = x.dtype, x.detach().to(torch.promote_types(x.dtype, torch.float32))
    if from_logits:
        x = x.softmax(dim=1)
    first = x.argmax(dim=1, keepdim=True)
    second = x.scatter(1, first, -torch.inf).argmax(dim=1, keepdim=True)
    grad = torch.where(x.isnan().any(dim=1, keepdim=True), 0.0, grad).to(x.dtype)
    result = torch.zeros_like(x).scatter_add(1, first, grad).scatter_add(1, second, -grad)
    if from_logits:
        result = x * (result - (result * x).sum(dim=1, keepdim=True))
    return result.to(dtype)
