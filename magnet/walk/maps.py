"""Maps of class probabilities at other sizes: upsampled, and as labels."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet.images.tensors import resize
from magnet_kernels import refine_stage, upsample_confidence

__all__ = ["labels_at", "upsample", "whole_image"]

_STRIP = 256  # rows of labels made at a time


def whole_image(image: Tensor, scale: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """The whole image at ``input_size``, showing no more than its first scale does."""
    if input_size[0] > scale[0] or input_size[1] > scale[1]:
        image = resize(image, scale)
    return resize(image, input_size)


def upsample(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a map (N, C, H, W) to ``size``."""
    if coarse.shape[-2:] == tuple(size):
        return coarse
    return upsample_confidence(coarse, size)[0]  # faster than F.interpolate, although half of it is not used


def labels_at(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (h, w) int64 labels at ``size``: resized bilinearly, without a second map."""
    classes, height, width = probabilities.shape
    if classes <= 256 and height <= size[0] and width <= size[1]:  # a stage that no patches come to
        nothing = probabilities.new_empty(0, classes, 1, 1), torch.empty(0, 5)
        return refine_stage(probabilities[None], *nothing, size, n_points=0, labels_only=True)[0].long()
    if (height, width) == tuple(size):
        return probabilities.max(dim=0).indices  # three times as fast as argmax
    labels = torch.empty(size, dtype=torch.int64, device=probabilities.device)
    y = ((torch.arange(size[0], device=probabilities.device) + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    above = y.long()
    weight = (y - above)[:, None]
    below = (above + 1).clamp(max=height - 1)
    for start in range(0, size[0], _STRIP):
        rows = slice(start, start + _STRIP)
        strip = torch.lerp(probabilities[:, above[rows]], probabilities[:, below[rows]], weight[rows])
        labels[rows] = upsample(strip[None], (strip.shape[1], size[1]))[0].max(dim=0).indices
    return labels
