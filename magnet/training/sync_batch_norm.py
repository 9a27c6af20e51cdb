"""Batch normalisation over the batch of all processes, on the CPU too.

``torch.nn.SyncBatchNorm`` (used on GPUs) calls kernels that exist for accelerators only; this one computes the same
with sums that Gloo can carry, in float64, so that N processes normalise as one process with the whole batch does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.distributed import all_reduce_sum

__all__ = ["SyncBatchNorm2d", "SyncBatchNormAct2d", "sync_batch_norm"]


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) with mean and biased variance over all processes; also returns those, and the count.

    The gradient of x needs the processes' sums of the incoming gradient, as x moves the statistics of all of them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels, count = x.shape[1], x.numel() // x.shape[1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
        if count:
            var, mean = (v.double() for v in torch.var_mean(x.to(dtype), dim=(0, 2, 3), correction=0))
            sums = torch.cat((count * mean, count * (var + mean * mean), sums.new_tensor([count])))
        sums = all_reduce_sum(sums)
        total = sums[-1]
        mean = sums[:channels] / total
        var = (sums[channels:-1] / total - mean * mean).clamp(min=0)
        y = F.batch_norm(x, mean.to(dtype), var.to(dtype), eps=eps)  # the plain kernel, with given statistics
        scale = (var + eps).rsqrt()
        ctx.save_for_backward(y, scale, total)
        ctx.mark_non_differentiable(mean, var, total)
        return y, mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        y, scale, total = ctx.saved_tensors
        channels = y.shape[1]
        sums = torch.cat(
            (grad.sum(dim=(0, 2, 3), dtype=torch.float64), (grad * y).sum(dim=(0, 2, 3), dtype=torch.float64))
        )
        mean, along = ((s / total).to(grad.dtype)[:, None, None] for s in all_reduce_sum(sums).split(channels))
        return (grad - mean - y * along) * scale.to(grad.dtype)[:, None, None], None


class SyncBatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` whose training statistics are those of the batch of all processes.

    Input (N, C, H, W); N may differ between processes and be 0 on some. Every process must take part in each forward
    and backward pass. Parameters, buffers and their keys are those of ``torch.nn.BatchNorm2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        y, mean, var, total = _Normalise.apply(x, self.eps)
        if self.track_running_stats:
            self._follow(mean, var, float(total))
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, total: float) -> None:
        """Move the running statistics towards those of a batch of ``total`` values a channel."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_((var * (total / max(total - 1, 1))).to(self.running_var.dtype), rate)


class _ThenActivation(nn.Module):
    """What timm's batch normalisation does beside normalising, from the modules ``drop`` and ``act`` of it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))  # type: ignore[no-any-return, misc]


class SyncBatchNormAct2d(_ThenActivation, SyncBatchNorm2d):
    """``SyncBatchNorm2d`` with the activation that timm's layer of this kind holds."""


class _SyncBatchNormAct(_ThenActivation, nn.SyncBatchNorm):
    """``torch.nn.SyncBatchNorm`` with the activation that timm's layer of this kind holds."""


def sync_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation of ``network`` by one over all processes; parameters and buffers stay the same.

    Those that torch itself has, and timm's that holds an activation, too. Any other class that is derived from torch's
    may do more than to normalise, and stays as it is.

    Returns the network, which is the given one unless that is itself a batch normalisation.
    """
    on_cpu, kind = device.type == "cpu", type(network)
    if kind is nn.BatchNorm2d:
        return _replaced(network, SyncBatchNorm2d if on_cpu else nn.SyncBatchNorm)
    if kind in (nn.BatchNorm1d, nn.BatchNorm3d) and not on_cpu:
        return _replaced(network, nn.SyncBatchNorm)
    if kind.__name__ == "BatchNormAct2d" and isinstance(network, nn.BatchNorm2d):
        synced = _replaced(network, SyncBatchNormAct2d if on_cpu else _SyncBatchNormAct)
        synced.drop, synced.act = network.drop, network.act
        return synced
    for name, child in network.named_children():
        setattr(network, name, sync_batch_norm(child, device))
    return network


def _replaced(norm: Any, kind: Any) -> nn.Module:
    """A normalisation of another kind with the parameters and buffers of ``norm``."""
    synced: nn.Module = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    synced.weight, synced.bias = norm.weight, norm.bias
    for key, value in norm.named_buffers(recurse=False):
        setattr(synced, key, value)
    return synced.train(norm.training)
