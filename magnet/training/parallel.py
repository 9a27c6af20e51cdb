"""DistributedDataParallel as the training stages use it; with one process, nothing."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from magnet.distributed import all_reduce_sum, world_size
from magnet.training.sync_batch_norm import SyncBatchNorm2d

__all__ = ["average_buffers", "has_sync_batch_norm", "no_sync", "wrap"]

_SYNCED = (SyncBatchNorm2d, nn.SyncBatchNorm)


def wrap(network: nn.Module, device: torch.device, *, partly_used: bool = False) -> nn.Module:
    """``network`` with its gradients averaged over the processes in backward, starting from the weights of rank 0.

    Args:
        network: what is trained.
        device: where it is.
        partly_used: a step may leave parameters out, though the same ones on every process.
    """
    if world_size() == 1:
        return network
    # buffers are kept alike by synchronised norms, or by average_buffers: a broadcast would favour rank 0's images
    known = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # since torch 2.13
    devices = [torch.cuda.current_device()] if device.type == "cuda" else None
    options: dict[str, Any] = {option: False}
    if partly_used:  # torch warns of each step that leaves nothing out
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
    return DistributedDataParallel(network, device_ids=devices, find_unused_parameters=partly_used, **options)


def no_sync(network: nn.Module, wait: bool) -> AbstractContextManager[Any]:
    """While ``wait``, backward only accumulates gradients, to be averaged in the next backward outside of this.

    Not where that one may leave parameters out, whose gradients would then never be averaged.
    """
    network = getattr(network, "_orig_mod", network)  # what torch.compile wraps
    if wait and isinstance(network, DistributedDataParallel) and not network.find_unused_parameters:
        return network.no_sync()
    return contextlib.nullcontext()


def has_sync_batch_norm(network: nn.Module) -> bool:
    """Whether a batch normalisation of ``network`` is over all processes."""
    return any(isinstance(module, _SYNCED) for module in network.modules())


@torch.no_grad()
def average_buffers(network: nn.Module) -> None:
    """Make the running statistics the mean over the processes, where their norms saw different images.

    So every process holds the same network after every step, and the one that rank 0 writes is that of all.
    """
    if world_size() == 1:
        return
    buffers = [
        buffer
        for module in network.modules()
        if not isinstance(module, _SYNCED)
        for buffer in module.buffers(recurse=False)
        if buffer.is_floating_point()
    ]
    if not buffers:
        return
    mean = all_reduce_sum(torch.cat([buffer.flatten() for buffer in buffers])) / world_size()
    parts: tuple[Tensor, ...] = mean.split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))
