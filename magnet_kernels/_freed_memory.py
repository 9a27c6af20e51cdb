"""Memory of the process on the CPU: what one call, prediction or training step frees is kept for the next."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Mapping

__all__ = ["keep_freed_memory", "return_freed_memory", "user_keeps"]

_SAID = re.compile(
    r"(MALLOC_(MMAP|TRIM|TOP_PAD)_\w*|LD_PRELOAD)=."  # an empty variable says nothing
    r"|GLIBC_TUNABLES=.*glibc\.malloc\.(mmap|trim|top_pad)\w*=."
)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
_NEVER, _MOST = -1, 2**31 - 1

_kept = False


def user_keeps(environment: Mapping[str, str]) -> bool:
    """Whether variables say what memory is kept, or load what may be another allocator."""
    return any(_SAID.match(f"{name}={value}") for name, value in environment.items())


def keep_freed_memory() -> bool:
    """Let the C library keep the memory that this process frees on the CPU; returns whether it does so now.

    Networks allocate what the layer before has freed. As glibc comes, large blocks go back to the system each time,
    which clears every page anew: a quarter of the time of a prediction, 4 to 15% of a training. It holds for the whole
    process and to its end, so that the library does it for its commands alone; scripts that predict on a CPU call it
    once, before the first prediction. The process then holds what it once needed at the most, and more, as kept blocks
    lie in pieces: a third more with the bundled models, up to twice as much of a few large tensors.

    Nothing is changed where the C library is not glibc, and where the user says what is kept by glibc's own variables
    (MALLOC_MMAP_..., MALLOC_TRIM_..., MALLOC_TOP_PAD_, or tunables of these names) or loads libraries ahead of it, as
    another allocator (LD_PRELOAD).
    """
    global _kept
    if platform.libc_ver()[0] != "glibc" or user_keeps(os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # before 2.35 glibc takes no threshold as high: no blocks of their own at all, then
    in_heap = mallopt(_M_MMAP_THRESHOLD, _MOST) or mallopt(_M_MMAP_MAX, 0)
    _kept = bool(in_heap and mallopt(_M_TRIM_THRESHOLD, _NEVER))
    return _kept


def return_freed_memory() -> None:
    """Give back to the system what is kept by ``keep_freed_memory``, where that would be measured or would add up."""
    if _kept:
        ctypes.CDLL(None).malloc_trim(0)
