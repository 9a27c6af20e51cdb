"""A MagNet small enough for tests, saved as a folder."""

from __future__ import annotations

from pathlib import Path

import torch

import magnet


def save_tiny_model(folder: Path, num_classes: int = 8) -> Path:
    """Write a model of two scales, 32 x 64 and 64 x 128, with weights from a fixed seed."""
    torch.manual_seed(7)
    model = magnet.MagNet(
        magnet.build_segmenter("compact", num_classes),
        magnet.RefinementModule(num_classes),
        scales=[(32, 64), (64, 128)],
        patch_size=(32, 64),
        n_points=1000,
        class_names=[f"class {i}" for i in range(num_classes)],
        colours=[(20 * i, 255 - 20 * i, 10 * i) for i in range(num_classes)],
    )
    model.save_pretrained(folder)
    return folder
