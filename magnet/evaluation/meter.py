"""What a prediction costs: seconds, and the highest memory on the way."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path

import torch

from magnet_kernels._freed_memory import return_freed_memory

__all__ = ["Meter", "free_memory", "peak_memory", "reset_peak_memory"]


def reset_peak_memory(device: torch.device) -> None:
    """Start ``peak_memory`` anew. Where that cannot be done (no Linux), it is that of the whole run."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    return_freed_memory()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Highest memory in MiB: of the process on the CPU (resident), allocated by torch on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def free_memory() -> float:
    """MiB that this process can still take on the CPU, its control group's limit included; infinite if not known."""
    free = float("inf")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) / 1024
    except OSError:
        return free
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        free = min(free, (limit - used) / 2**20)
    return free


class Meter:
    """Seconds and peak memory of a prediction; what happens in its pauses counts towards neither.

    The device is waited for at every start, pause and stop.

    Attributes:
        seconds: so far, pauses not included.
        peak: MiB, of the process on the CPU, allocated on a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = self.peak = 0.0
        self._since = 0.0

    def start(self) -> None:
        """From zero."""
        self.seconds = self.peak = 0.0
        self.resume()

    def pause(self) -> None:
        """Stop, until ``resume``."""
        self._wait()
        self.seconds += time.perf_counter() - self._since
        self.peak = max(self.peak, peak_memory(self.device))

    stop = pause

    def resume(self) -> None:
        self._wait()
        reset_peak_memory(self.device)
        self._since = time.perf_counter()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
