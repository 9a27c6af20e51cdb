"""Prints how much memory refine_step_ takes beyond its inputs and the points it returns, in score maps.

A program of its own: ``python memory.py contiguous|channels_last|logits|mask|half|median11``. It reads the peak of
resident memory, so that it sees every allocation that is used, whoever makes it. A score map is H * W float32.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from magnet_kernels import refine_step_

SIZE = (1024, 2048)


def resident(field: str) -> int:
    """Bytes from /proc/self/status: VmRSS is now, VmHWM the peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def measure(case: str) -> float:
    h, w = SIZE
    torch.set_num_threads(2)
    dtype = torch.float16 if case == "half" else torch.float32
    layout = torch.channels_last if case == "channels_last" else torch.contiguous_format
    coarse, fine = (torch.rand(1, 5, h, w).to(dtype).contiguous(memory_format=layout) for _ in "cf")
    mask = torch.rand(h, w) < 0.7 if case == "mask" else None
    options = {"n_points": 65536, "from_logits": case == "logits", "kernel_size": 11 if case == "median11" else 3}
    small = (slice(None), slice(None), slice(0, 64), slice(0, 64))
    small_mask = None if mask is None else mask[small[2:]]
    refine_step_(
        coarse[small], fine[small], mask=small_mask, **{**options, "n_points": 64}
    )  # loads code, starts threads
    coarse.mul_(1)  # every page is resident
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    _, points = refine_step_(coarse, fine, mask=mask, return_points=True, **options)
    extra = resident("VmHWM") - before - points.numel() * points.element_size()
    return max(extra, 0) / (h * w * 4)


if __name__ == "__main__":
    print(f"{measure(sys.argv[1]):.3f} score maps")
