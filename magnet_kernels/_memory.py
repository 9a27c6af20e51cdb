"""Memory that runs out inside an operator: torch.OutOfMemoryError, as torch's own operators raise it on a GPU.

Through the stable ABI a failed allocation arrives as a RuntimeError that names the call and not the reason; torch's
allocator of the CPU raises a plain one, too. Operators allocate all they need before they write, so that nothing has
been changed then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from magnet_kernels._dispatcher import NAMESPACE, overload

_ALLOCATION = re.compile(
    r'"aten::(?:new_empty|empty|empty_like|clone)".* API call failed'
    r"|DefaultCPUAllocator: (?:can.t allocate|not enough) memory"
)


def translated(operator: str, device: torch.device, run: Callable[..., Any]) -> Callable[..., Any]:
    """``run``, but that memory of ``device`` which runs out is a torch.OutOfMemoryError."""

    def call(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or not _ALLOCATION.search(str(error)):
                raise
            _raise_what_happened_before(device)
            raise torch.OutOfMemoryError(_words(operator, device, arguments)) from error

    return call


def _raise_what_happened_before(device: torch.device) -> None:
    """After a kernel has failed, any call on its GPU does: then that is the error, not the memory."""
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize(device)


def _words(operator: str, device: torch.device, arguments: tuple[Any, ...]) -> str:
    where = "memory"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        where = f"memory of {device} ({free / 2**30:.2f} GiB of {total / 2**30:.2f} GiB are free)"
    return (
        f"{operator}: out of {where}; nothing was changed. It was given {_sizes(operator, arguments)}; free some "
        "memory, or pass fewer or smaller images at a time"
    )


def _sizes(operator: str, arguments: tuple[Any, ...]) -> str:
    """What decides how much memory an operator takes: the shapes of its tensors and its numbers, by name."""
    names = (argument.name for argument in overload(NAMESPACE, operator)._schema.arguments)
    words = []
    for name, value in zip(names, arguments, strict=False):
        if isinstance(value, Tensor):
            words.append(f"{name} {tuple(value.shape)}")
        elif isinstance(value, int) and not isinstance(value, bool):
            words.append(f"{name} {value}")
    return ", ".join(words)
