"""Bringing the colours of an image to those of the images that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

__all__ = ["OwnStatistics", "channel_statistics", "match_channels", "own_statistics"]

Statistics = tuple[list[float], list[float]]


class OwnStatistics(NamedTuple):
    """Mean and standard deviation of the channels of N images, (N, C, 1, 1) each."""

    mean: Tensor
    std: Tensor


def channel_statistics(images: Iterable[np.ndarray]) -> Statistics:
    """Mean and standard deviation of each channel, as R, G and B, in [0, 1], each image counting alike.

    Args:
        images: (H, W, C) uint8, or float32 in [0, 1].
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for image in images:
        pixels = image.reshape(-1, image.shape[2]).astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
        count, total, squares = count + 1, total + pixels.mean(0), squares + np.square(pixels).mean(0)
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return [round(float(v), 4) for v in mean], [round(float(v), 4) for v in std]


def own_statistics(images: Tensor) -> OwnStatistics:
    """Those of images (N, C, H, W)."""
    return OwnStatistics(images.mean(dim=(2, 3), keepdim=True), images.std(dim=(2, 3), keepdim=True, correction=0))


def match_channels(
    images: Tensor, mean: Sequence[float], std: Sequence[float], seen: Tensor | OwnStatistics | None = None
) -> Tensor:
    """Each image's channels (N, C, H, W), shifted and scaled to ``mean`` and ``std``; flat ones are only shifted.

    Args:
        images: (N, C, H, W).
        mean, std: of each channel, that they are brought to.
        seen: (N, C, h, w) whose own mean and deviation count, where ``images`` are parts, or these; None: ``images``.
    """
    own_mean, own_std = seen if isinstance(seen, OwnStatistics) else own_statistics(images if seen is None else seen)
    target_mean, target_std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    scale = target_std / own_std
    scale = scale.where(own_std > 1e-4, scale.new_ones(()))
    return (images - own_mean) * scale + target_mean
