"""Passes of the networks that fit into memory: where one does not, it is halved."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from magnet.errors import MagNetError
from magnet.walk.networks import Networks

__all__ = ["in_passes", "is_out_of_memory"]

_LOG = logging.getLogger("magnet")
_SIGNS = ("DefaultCPUAllocator", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device: the CPU's allocator, cuDNN and cuBLAS raise plain RuntimeErrors."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    )


def in_passes(networks: Networks, size: tuple[int, int], run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``run`` of tensors that have an image or a patch in each row: of all rows, or of as many as fit into memory.

    Where memory runs out they are halved and tried again; later passes of these networks are no larger. Where the walk
    is traced there is one pass.

    Args:
        networks: that ``run`` calls.
        size: (H, W) that they see, for messages.
        run: rows of the inputs -> rows of the result.
        inputs: of as many rows each.

    Raises:
        MagNetError: memory does not do for a single row.
    """
    if torch.compiler.is_compiling():
        return run(*inputs)
    count, first, found = len(inputs[0]), 0, []
    while first < count:
        end = min(first + (networks.most_at_once or count), count)
        result = _tried(run, [one[first:end] for one in inputs])
        if isinstance(result, Tensor):
            found.append(result)
            first = end
        else:
            _halve(networks, size, end - first, result)
    return torch.cat(found) if len(found) > 1 else found[0]


def _tried(run: Callable[..., Tensor], inputs: list[Tensor]) -> Tensor | str:
    """The result; where memory ran out, the words. Not the error, which keeps alive what the pass had allocated."""
    try:
        return run(*inputs)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error) or type(error).__name__


def _halve(networks: Networks, size: tuple[int, int], count: int, reason: str) -> None:
    """Let passes of ``count`` rows be no larger than half of that from now on, and say so once."""
    of, where = f"{size[0]}x{size[1]} pixels (HxW)", networks.device
    if count == 1:
        raise MagNetError(
            f"memory: expected one image of {of} to fit into that of {where} on its way through the networks, got "
            f"'{reason.splitlines()[0]}'; use a smaller input_size, amp='bf16' or a smaller model, or free some memory"
        )
    told, networks.most_at_once = networks.most_at_once is not None, count // 2
    if where.type == "cuda":
        torch.cuda.empty_cache()  # what the larger pass left in pieces
    if not told:
        _LOG.warning(
            f"batch_size: a pass of {count} images of {of} does not fit into the memory of {where}; it goes on with "
            f"{count // 2}, or fewer where that is too much, too. Smaller passes may round otherwise: for results that "
            f"repeat bit for bit, give batch_size={count // 2}"
        )
