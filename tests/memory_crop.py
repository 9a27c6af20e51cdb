"""Prints how much memory the reference of crop_patches takes beyond its inputs and its result, in MiB.

A program of its own: ``python memory_crop.py crop|gradient|shrunk``. It reads the peak of resident memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from memory import resident

from magnet_kernels import crop_patches

SIDE = 2.0**23
CASES = {  # (H, W) of the map, box, output size
    "crop": ((64, 48), (-SIDE, -SIDE, SIDE, SIDE), (64, 500)),
    "gradient": ((64, 48), (-SIDE, -SIDE, SIDE, SIDE), (64, 500)),
    "shrunk": ((1024, 1024), (0.0, 0.0, 1024.0, 1024.0), (512, 300)),
}


def measure(case: str) -> float:
    torch.set_num_threads(1)
    (h, w), box, size = CASES[case]
    x = torch.rand(1, 16, h, w, requires_grad=case == "gradient")

    def run(box: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        result = crop_patches(x, box, size, backend="reference")
        if case == "gradient":
            result.sum().backward()
        return result

    run(torch.tensor([[0.0, 0, 0, 9, 9]]), (4, 4))  # loads code
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    result = run(torch.tensor([[0.0, *box]]), size)
    return max(resident("VmHWM") - before - result.numel() * 4, 0) / 2**20


if __name__ == "__main__":
    print(f"{measure(sys.argv[1]):.1f} MiB")
