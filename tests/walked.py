"""A model of one convolution and three small scales, whose walks tests compare."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from raster_files import noise, smooth
from seeded import rand, seed_module
from torch import Tensor, nn

from magnet import MagNet, RefinementModule
from magnet.images.tensors import normalize

SCALES = [(12, 16), (24, 32), (50, 62)]
FIELD = (48, 64)
EXACT: dict = {"scales": [(12, 16), (24, 32), FIELD], "patch_size": (12, 16), "batch_size": 4}  # whole pixels of levels


class Local(nn.Module):
    """A segmenter of one convolution: a patch's interior looks the same in any patch around it."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, num_classes, 3, padding=1)
        seed_module(self, "local.")

    def forward(self, images: Tensor) -> Tensor:
        return 6 * self.conv(images)


def build(refiner: object = "shared", **changes: object) -> MagNet:
    if refiner == "shared":
        refiner = seed_module(RefinementModule(3), "shared.")
    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 0.4, **changes}
    return MagNet(Local(), refiner, **arguments)  # type: ignore[arg-type]


def image_of(height: int = 50, width: int = 62, n: int = 1) -> Tensor:
    coarse = F.interpolate(rand("model.image", n, 3, 9, 11), (height, width), mode="bilinear", align_corners=False)
    return normalize(0.7 * coarse + 0.3 * rand("model.grain", n, 3, height, width))


def unit(images: Tensor) -> Tensor:
    """Undo the normalisation: (3, H, W) in [0, 1]."""
    zero, one = normalize(torch.zeros(1, 3, 1, 1)), normalize(torch.ones(1, 3, 1, 1))
    return ((images - zero) / (one - zero))[0].clamp(0, 1)


def pixels_of(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8, smooth with grain."""
    return (smooth(height, width).astype(np.float64) * 0.6 + noise(height, width) * 0.4).astype(np.uint8)
