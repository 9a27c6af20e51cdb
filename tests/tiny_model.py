"""MagNets small enough for tests: one saved as a folder, and one of which a graph is soon made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


class Blend(torch.nn.Module):
    """A refiner of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(8, 4, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.layer(torch.cat([fine, coarse], 1))


def one_layer_model(**options: Any) -> magnet.MagNet:
    """A model of three scales and 4 classes, of one layer each, or of ``compact`` networks, with fixed weights."""
    torch.manual_seed(3)
    defaults: dict[str, Any] = {"scales": [(16, 32), (24, 48), (32, 64)], "patch_size": (16, 32), "n_points": 200}
    if options.pop("compact", False):
        segmenter, refiner = magnet.build_segmenter("compact", 4), magnet.RefinementModule(4)
    else:
        segmenter, refiner = torch.nn.Conv2d(3, 4, 3, padding=1), Blend()
    networks = (segmenter, options.pop("refiner", refiner))
    return magnet.MagNet(*networks, **{**defaults, **options}).eval()
