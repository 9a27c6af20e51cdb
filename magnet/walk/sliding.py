"""The plain sliding window: what a segmenter gives at one scale without refinement."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from magnet.images.tensors import normalize

__all__ = ["sliding_window"]


def _starts(length: int, part: int) -> list[int]:
    count = math.ceil(length / part)
    return [round(i * (length - part) / max(count - 1, 1)) for i in range(count)]


@torch.inference_mode()
def sliding_window(
    predict: Callable[[Tensor], Tensor], image: Tensor, size: tuple[int, int], batch_size: int = 8
) -> Tensor:
    """Probabilities of an image seen through as few patches as cover it, overlaps averaged.

    Args:
        predict: normalised images (N, 3, h, w) -> probabilities (N, C, h, w), such as ``MagNet.segment``.
        image: (1, 3, H, W) RGB in [0, 1].
        size: (h, w) of a patch, at most (H, W).
        batch_size: patches in a forward pass.

    Returns:
        (1, C, H, W) float32 probabilities, on the image's device.
    """
    height, width = image.shape[-2:]
    h, w = size
    if h > height or w > width:
        raise ValueError(
            f"size: expected a patch of at most {height}x{width} (HxW), got {h}x{w}; enlarge the image first"
        )
    places = [(y, x) for y in _starts(height, h) for x in _starts(width, w)]
    total = count = None
    for first in range(0, len(places), batch_size):
        group = places[first : first + batch_size]
        patches = normalize(torch.cat([image[..., y : y + h, x : x + w] for y, x in group]))
        probabilities = predict(patches.contiguous(memory_format=torch.channels_last)).float()
        if total is None or count is None:
            total = image.new_zeros(1, probabilities.shape[1], height, width)
            count = image.new_zeros(1, 1, height, width)
        for (y, x), values in zip(group, probabilities, strict=True):
            total[0, :, y : y + h, x : x + w] += values
            count[..., y : y + h, x : x + w] += 1
    assert total is not None and count is not None
    return total / count
