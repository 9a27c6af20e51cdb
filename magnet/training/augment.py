"""Cutting training samples from images, with random geometry and colour."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.data import IGNORE_INDEX
from magnet.images.resize_pixels import resize_pixels
from magnet.images.tensors import normalization, normalize, to_tensor
from magnet.training.config import AugmentConfig

__all__ = ["ColourChange", "cut", "magnified", "random_sample"]

_TRIES = 4  # other places, where one has next to nothing to learn from


class ColourChange:
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
        amounts = (config.brightness, config.contrast, config.saturation, config.tint, config.gamma, config.noise)
        self._changes = any(amount != 0 for amount in amounts)

    def __call__(self, image: Tensor) -> Tensor:
        """(C, H, W) in [0, 1] -> the same, changed. Saturation and tint are of colours: of three channels alone."""
        if not self._changes:
            return image
        image = image.clamp(0, 1).pow(self.gamma)
        coloured = image.shape[0] == 3  # what else tells classes apart is the ratio of bands
        if coloured:
            grey = image.mean(dim=0, keepdim=True)
            image = grey + (image - grey) * self.saturation
        # contrast turns around a fixed grey, so that every crop of an image changes alike
        image = (0.4 + (image - 0.4) * self.contrast) * (self.tint * self.brightness if coloured else self.brightness)
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

    Returns the image (C, H, W) in [0, 1] and the labels (H, W) int64, ignored where there is no image. ``flip`` is
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


def magnified(
    image: np.ndarray, labels: np.ndarray, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A window of an image resized to ``whole`` (H, W), of which only the window is made.

    Args:
        image: (H, W, C) uint8, or float32 in [0, 1].
        labels: (H, W) uint8.
        whole: size (H, W) that the image is resized to.
        corner: (y, x) of the window there, which may lie outside.
        size: (H, W) of the window.

    Returns:
        The window of the image, antialiased where it shrinks, and of the labels, by nearest pixel. Outside, the image
        is the mean that it is normalised with, which is 0 for the network, and the labels are ignored.
    """
    (height, width), (h, w), (y0, x0) = labels.shape, size, corner
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y0 + h, whole[0]), min(x0 + w, whole[1])
    mean = np.array(normalization(image.shape[2])[0])
    pixels = np.empty((h, w, image.shape[2]), image.dtype)
    pixels[:] = np.rint(mean * 255) if image.dtype == np.uint8 else mean
    target = np.full(size, IGNORE_INDEX, np.uint8)
    if bottom <= top or right <= left:
        return pixels, target
    ratio_y, ratio_x = height / whole[0], width / whole[1]
    box = (left * ratio_x, top * ratio_y, min(right * ratio_x, width), min(bottom * ratio_y, height))
    inside = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
    pixels[inside] = resize_pixels(image, (bottom - top, right - left), box)
    rows = ((np.arange(top, bottom) + 0.5) * ratio_y).astype(np.int64)
    columns = ((np.arange(left, right) + 0.5) * ratio_x).astype(np.int64)
    target[inside] = labels[rows[:, None], columns[None, :]]
    return pixels, target


def _enough(labels: np.ndarray) -> bool:
    """Whether there is something to learn from."""
    return bool((labels[::4, ::4] != IGNORE_INDEX).mean() > 0.2)


def _cut_from_magnified(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    size: tuple[int, int],
    config: AugmentConfig,
    base: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """``random_sample`` with crop "random", before the changes of colour."""
    zoom = float(rng.uniform(*config.zoom))
    whole = (max(1, round(base[0] * zoom)), max(1, round(base[1] * zoom)))
    angle = math.radians(config.rotate * float(rng.uniform(-1, 1)))
    flip = (bool(rng.random() < config.flip_vertical), bool(rng.random() < config.flip))
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    # what a turned patch shows lies in this window
    window = (math.ceil(size[0] * cos + size[1] * sin), math.ceil(size[0] * sin + size[1] * cos)) if angle else size
    for _ in range(_TRIES):
        spare = [whole[i] - size[i] for i in (0, 1)]
        y, x = (int(rng.integers(min(s, 0), max(s, 0) + 1)) - (window[i] - size[i]) // 2 for i, s in enumerate(spare))
        pixels, target = magnified(image, labels, whole, (y, x), window)
        if _enough(target):
            break
    return cut(pixels, target, (window[0] / 2, window[1] / 2), size, angle=angle, flip=flip)


def random_sample(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    size: tuple[int, int],
    config: AugmentConfig,
    *,
    base: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """A random patch of ``size`` (H, W), the whole image where it has that size, changed as ``config`` says.

    Args:
        rng: everything random comes from here.
        image: (H, W, C) uint8, or float32 in [0, 1].
        labels: (H, W) uint8.
        size: (H, W) of the patch.
        config: what is changed, and how the patch is placed.
        base: with crop "random", the size (H, W) that a magnification of 1 stands for; ``image`` may be a finer copy,
            so that what is magnified keeps its detail. None: the image's own.

    Returns:
        A normalised image (C, H, W) and labels (H, W) int64.
    """
    if config.crop == "random":
        pixels, target = _cut_from_magnified(
            rng, image, labels, size, config, base or (labels.shape[0], labels.shape[1])
        )
        return normalize(ColourChange(rng, config)(pixels)), target
    h, w = size
    height, width = labels.shape
    for _ in range(_TRIES):
        y0, x0 = int(rng.integers(max(height - h, 0) + 1)), int(rng.integers(max(width - w, 0) + 1))
        if _enough(labels[y0 : y0 + h, x0 : x0 + w]):
            break
    angle = math.radians(config.rotate * float(rng.uniform(-1, 1)))
    low, high = config.zoom
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    flip = (bool(rng.random() < config.flip_vertical), bool(rng.random() < config.flip))
    pixels, target = cut(image, labels, (y0 + h / 2, x0 + w / 2), size, angle=angle, zoom=zoom, flip=flip)
    return normalize(ColourChange(rng, config)(pixels)), target
