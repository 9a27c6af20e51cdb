"""Cutting training samples from images, with random geometry and colour."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.data import IGNORE_INDEX
from magnet.images import normalize, to_tensor
from magnet.training.config import AugmentConfig

__all__ = ["Colour", "cut", "random_sample"]


class Colour:
    """One random change of colour, which can be applied to several crops of an image."""

    def __init__(self, rng: np.random.Generator, config: AugmentConfig) -> None:
        def around_one(amount: float) -> float:
            return 1 + amount * float(rng.uniform(-1, 1))

        self.gamma = 2 ** (config.gamma * float(rng.uniform(-1, 1)))
        self.brightness = around_one(config.brightness)
        self.contrast = around_one(config.contrast)
        self.saturation = around_one(config.saturation)
        self.tint = torch.tensor([around_one(config.tint) for _ in range(3)]).view(3, 1, 1)
        self.noise = config.noise * float(rng.uniform(0, 1))
        self.noise_seed = int(rng.integers(2**62))

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) in [0, 1] -> the same, changed."""
        image = image.clamp(0, 1).pow(self.gamma)
        grey = image.mean(dim=0, keepdim=True)
        image = grey + (image - grey) * self.saturation
        # contrast turns around a fixed grey, so that every crop of an image changes alike
        image = (0.4 + (image - 0.4) * self.contrast) * (self.tint * self.brightness)
        if self.noise > 0:
            generator = torch.Generator().manual_seed(self.noise_seed)
            image = image + self.noise * torch.randn(image.shape, generator=generator)
        return image.clamp(0, 1)


def cut(
    image: np.ndarray,
    labels: np.ndarray,
    centre: tuple[float, float],
    size: tuple[int, int],
    *,
    angle: float = 0.0,
    zoom: float = 1.0,
    flip: tuple[bool, bool] = (False, False),
) -> tuple[Tensor, Tensor]:
    """Cut ``size`` (H, W) pixels around ``centre`` (y, x), turned by ``angle`` radians and magnified by ``zoom``.

    Returns the image (3, H, W) in [0, 1] and the labels (H, W) int64, ignored where there is no image. ``flip`` is
    (upside down, left-right).
    """
    h, w = size
    height, width = labels.shape
    y0, x0 = round(centre[0] - h / 2), round(centre[1] - w / 2)
    if angle == 0 and zoom == 1 and 0 <= y0 <= height - h and 0 <= x0 <= width - w:
        pixels = to_tensor(image[y0 : y0 + h, x0 : x0 + w])
        target = torch.from_numpy(labels[y0 : y0 + h, x0 : x0 + w].astype(np.int64))
    else:
        cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
        v = torch.arange(h, dtype=torch.float32)[:, None] + 0.5 - h / 2
        u = torch.arange(w, dtype=torch.float32)[None, :] + 0.5 - w / 2
        y, x = centre[0] + cos * v + sin * u, centre[1] - sin * v + cos * u
        top, left = max(0, math.floor(float(y.min())) - 2), max(0, math.floor(float(x.min())) - 2)
        bottom, right = min(height, math.ceil(float(y.max())) + 2), min(width, math.ceil(float(x.max())) + 2)
        part = to_tensor(image[top:bottom, left:right])[None]
        # ids are shifted by one, so that the zeros of the padding are no class
        ids = torch.from_numpy(labels[top:bottom, left:right].astype(np.float32))[None, None] + 1
        grid = torch.stack(((x - left) / ((right - left) / 2) - 1, (y - top) / ((bottom - top) / 2) - 1), dim=-1)[None]
        pixels = F.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
        target = F.grid_sample(ids, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0].long() - 1
        target[target < 0] = IGNORE_INDEX
    turned = [dim for dim, wanted in zip((-2, -1), flip, strict=True) if wanted]
    return pixels.flip(turned), target.flip(turned)


def random_sample(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    size: tuple[int, int],
    config: AugmentConfig,
) -> tuple[Tensor, Tensor]:
    """A random patch of ``size`` (H, W), the whole image where it has that size, changed as ``config`` says.

    Returns a normalised image (3, H, W) and labels (H, W) int64.
    """
    h, w = size
    height, width = labels.shape
    for _ in range(4):  # another place if this one has next to nothing to learn from
        y0, x0 = int(rng.integers(max(height - h, 0) + 1)), int(rng.integers(max(width - w, 0) + 1))
        if (labels[y0 : y0 + h : 4, x0 : x0 + w : 4] != IGNORE_INDEX).mean() > 0.2:
            break
    angle = math.radians(config.rotate * float(rng.uniform(-1, 1)))
    low, high = config.zoom
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    flip = (bool(rng.random() < config.flip_vertical), bool(rng.random() < config.flip))
    pixels, target = cut(image, labels, (y0 + h / 2, x0 + w / 2), size, angle=angle, zoom=zoom, flip=flip)
    return normalize(Colour(rng, config)(pixels)), target
