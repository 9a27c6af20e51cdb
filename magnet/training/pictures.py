"""Pictures of validation images for TensorBoard: the image, its labels, and predictions, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magnet.data import Dataset, colours_of
from magnet.images.draw import Colours, default_colours, label_picture
from magnet.images.tensors import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["PICTURES", "class_colours", "rgb", "sheet"]

PICTURES = 3  # images shown at each validation
_HEIGHT = 512  # most pixels of a picture's height
_GAP = 4


def class_colours(dataset: Dataset) -> Colours:
    """The data set's own colours, or ones that differ well."""
    return colours_of(dataset) or default_colours(dataset.num_classes)


def rgb(image: Tensor) -> np.ndarray:
    """A normalised image (3, H, W) -> (H, W, 3) uint8."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (image * std + mean).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()


def sheet(image: np.ndarray, labels: Sequence[np.ndarray], colours: Colours) -> np.ndarray:
    """An image (H, W, 3) uint8 and maps of classes (h, w), each shown at the image's size (at most 512 high), in a row.

    Returns (H, columns * (W + gap) - gap, 3) uint8.
    """
    height = min(image.shape[0], _HEIGHT)
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    tiles = [np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))]
    for classes in labels:
        picture = Image.fromarray(label_picture(classes, colours))
        tiles.append(np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)))
    result = np.full((height, len(tiles) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        result[:, number * (width + _GAP) :][:, :width] = tile
    return result
