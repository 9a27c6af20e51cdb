"""Images as tensors: what networks take."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "mean_and_std", "normalization", "normalize", "resize", "to_tensor"]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# of images that are not of three channels, whatever they are trained on: values lie in [0, 1] already, and the batch
# normalisation of the first layer learns the rest, so that a model needs no statistics of its own to be used
_MEAN, _STD = 0.5, 0.25


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, C) uint8, as RGB, or float32 in [0, 1] -> (C, H, W) float32 in [0, 1]."""
    image = np.require(image, requirements=["C", "W"])  # torch warns of memory that cannot be written to
    channels_first = torch.from_numpy(image).permute(2, 0, 1)
    if image.dtype == np.float32:
        return channels_first.contiguous()
    return channels_first.float().div_(255)


def normalization(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel that images in [0, 1] are normalised with: ImageNet's for three channels."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (_MEAN,) * channels, (_STD,) * channels


def mean_and_std(images: Tensor) -> tuple[Tensor, Tensor]:
    """The :func:`normalization` (C, 1, 1) of images (..., C, H, W), of their type and where they are."""
    mean, std = normalization(images.shape[-3])
    return images.new_tensor(mean).view(-1, 1, 1), images.new_tensor(std).view(-1, 1, 1)


def normalize(images: Tensor) -> Tensor:
    """Images (..., C, H, W) in [0, 1], as networks take them.

    Three channels: ImageNet's mean becomes 0, and its standard deviation 1. Others: 0.5 becomes 0, and 0.75 becomes 1.
    """
    if not images.is_floating_point():
        raise TypeError(f"images: expected floats in [0, 1], got {images.dtype}; divide by 255, or use to_tensor")
    mean, std = mean_and_std(images)
    return (images - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, C, H, W) to ``size`` (H, W), antialiased when shrinking."""
    if images.shape[-2:] == tuple(size):
        return images
    shrinks = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)
