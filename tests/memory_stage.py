"""Prints how much memory refine_stage takes beyond its inputs and its map of classes, if any, in score maps.

A program of its own: ``python memory_stage.py labels|labels_logits|refined``. It reads the peak of resident memory, so
that it sees every allocation that is used, whoever makes it. A score map is H * W float32; labels count as taken.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from memory import resident

from magnet_kernels import refine_stage

SIZE = (1024, 2048)
CLASSES = 8


def measure(case: str) -> float:
    h, w = SIZE
    torch.set_num_threads(2)
    coarse = torch.rand(1, CLASSES, h // 2, w // 2)
    patches = torch.rand(6, CLASSES, h // 2, w // 2)  # overlapping, and not all of the map
    boxes = torch.tensor([[0.0, x, y, x + w // 2, y + h // 2] for x in (0, w // 4, w // 2) for y in (0, h // 3)])
    options = {"n_points": 65536, "from_logits": case == "labels_logits", "labels_only": case != "refined"}
    refine_stage(coarse[..., :9, :9], patches, boxes, (64, 64), return_points=True, **options)  # loads code
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    result, points = refine_stage(coarse, patches, boxes, SIZE, return_points=True, **options)
    extra = resident("VmHWM") - before - points.numel() * points.element_size()
    if case == "refined":
        extra -= result.numel() * result.element_size()
    return max(extra, 0) / (h * w * 4)


if __name__ == "__main__":
    print(f"{measure(sys.argv[1]):.3f} score maps")
