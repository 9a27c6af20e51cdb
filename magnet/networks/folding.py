"""Batch normalisation folded into the convolution before it, for inference on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConvNorm", "conv_bn", "folded", "folds"]

# Of a channel of the output. Deep layers have more weights to scale than pixels to normalise (ResNet's last ones).
_MOST_WEIGHTS = 1536


def folds(x: Tensor, conv: nn.Module, bn: nn.Module) -> bool:
    """Whether ``bn(conv(x))`` may be one convolution, and gains by it.

    Not where something learns, nor where anyone listens to either layer. On GPUs a bias is added by a launch of its
    own, as a normalisation is, so that nothing is won there.
    """
    return (
        x.is_cpu
        and not (bn.training or torch.is_grad_enabled())
        and type(conv) is nn.Conv2d
        and type(bn) is nn.BatchNorm2d  # others may do more than normalise
        and bn.affine
        and conv.weight[0].numel() <= _MOST_WEIGHTS
        and bn.running_mean is not None
        and not (conv._forward_hooks or conv._forward_pre_hooks or bn._forward_hooks or bn._forward_pre_hooks)
    )


def conv_bn(x: Tensor, conv: nn.Module, bn: nn.Module) -> Tensor:
    """``bn(conv(x))``; in one pass over ``x``, with the running statistics, where that is allowed."""
    if not folds(x, conv, bn):
        return bn(conv(x))  # type: ignore[no-any-return]
    assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
    weight, bias = folded(conv, bn)
    return conv._conv_forward(x, weight, bias)


class ConvNorm(nn.Sequential):
    """A convolution, batch normalisation and whatever follows them; the first two in one where that is allowed."""

    def forward(self, x: Tensor) -> Tensor:
        conv, bn, *others = self
        x = conv_bn(x, conv, bn)
        for module in others:
            x = module(x)
        return x


def folded(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that gives ``bn(conv(x))``."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    mean = bn.running_mean if conv.bias is None else bn.running_mean - conv.bias
    weight = conv.weight * scale[:, None, None, None]
    return weight.to(conv.weight.dtype), (bn.bias - mean * scale).to(conv.weight.dtype)
