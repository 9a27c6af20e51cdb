"""Images as tensors: what networks take."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalize", "resize", "to_tensor"]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 in [0, 1]."""
    image = np.require(image, requirements=["C", "W"])  # torch warns of memory that cannot be written to
    return torch.from_numpy(image).permute(2, 0, 1).float().div_(255)


def normalize(images: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] -> ImageNet mean 0, standard deviation 1."""
    if not images.is_floating_point():
        raise TypeError(f"images: expected floats in [0, 1], got {images.dtype}; divide by 255, or use to_tensor")
    mean = images.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = images.new_tensor(IMAGENET_STD).view(3, 1, 1)
    return (images - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, C, H, W) to ``size`` (H, W), antialiased when shrinking."""
    if images.shape[-2:] == tuple(size):
        return images
    shrinks = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)
