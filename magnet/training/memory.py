"""Memory of a training on the CPU: what a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

__all__ = ["SAID", "keep_freed_memory"]

SAID = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # variables by which users handle memory themselves
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MOST = 2**31 - 1


def keep_freed_memory(device: torch.device) -> bool:
    """Let the C library keep the blocks of up to 2 GiB that this process frees; returns whether it does so now.

    A training step allocates what the last one freed. As glibc comes, large blocks go back to the system each time,
    which clears every page anew: 4 to 15% of the processor's time on CamVid. The peak stays what it was. It is for the
    whole process, so for a command only; what the user says by glibc's own variables (MALLOC_...) stays.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith(SAID) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST) and mallopt(_M_TRIM_THRESHOLD, _MOST))
