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
            raise torch.OutOfMemoryError(_words(operator, device)) from error

    return call


def _raise_what_happened_before(device: torch.device) -> None:
    """After a kernel has failed, any call on its GPU does: then that is the error, not the memory."""
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize(device)


def _words(operator: str, device: torch.device) -> str:
    where = "memory"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        where = f"memory of {device} ({free / 2**30:.2f} GiB of {total / 2**30:.2f} GiB are free)"
    return f"{operator}: out of {where}; nothing was changed. Free some, or pass fewer or smaller images at a time"
