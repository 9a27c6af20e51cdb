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

__all__ = ["SyncBatchNorm2d", "sync_batch_norm"]


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


def sync_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation of ``network`` by one over all processes; parameters and buffers stay the same.

    Returns the network, which is the given one unless that is itself a batch normalisation.
    """
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if type(network) is nn.BatchNorm2d:
        synced = SyncBatchNorm2d(
            network.num_features, network.eps, network.momentum, network.affine, network.track_running_stats
        )
        synced.weight, synced.bias = network.weight, network.bias
        for key, value in network.named_buffers(recurse=False):
            setattr(synced, key, value)
        return synced.train(network.training)
    for name, child in network.named_children():
        setattr(network, name, sync_batch_norm(child, device))
    return network
