"""Pictures of validation images for TensorBoard: the image, its labels, and predictions, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from magnet.data import Dataset, colours_of
from magnet.images.draw import Colours, default_colours, label_picture
from magnet.images.picture import as_picture
from magnet.images.resize_pixels import resize_pixels
from magnet.images.tensors import mean_and_std

__all__ = ["PICTURES", "class_colours", "rgb", "sheet"]

PICTURES = 3  # images shown at each validation
_HEIGHT = 512  # most pixels of a picture's height
_GAP = 4


def class_colours(dataset: Dataset) -> Colours:
    """The data set's own colours, or ones that differ well."""
    return colours_of(dataset) or default_colours(dataset.num_classes)


def rgb(image: Tensor) -> np.ndarray:
    """A normalised image (C, H, W) -> (H, W, 3) uint8: three of its channels."""
    mean, std = mean_and_std(image)
    return as_picture((image * std + mean).permute(1, 2, 0).numpy())


def sheet(image: np.ndarray, labels: Sequence[np.ndarray], colours: Colours) -> np.ndarray:
    """An image and maps of classes (h, w), each shown at the image's size (at most 512 high), in a row.

    The image is (H, W, C), uint8 or float32 in [0, 1], of which three channels are shown.

    Returns (H, columns * (W + gap) - gap, 3) uint8.
    """
    height = min(image.shape[0], _HEIGHT)
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    tiles = [resize_pixels(as_picture(image), (height, width))]
    for classes in labels:
        picture = Image.fromarray(label_picture(classes, colours))
        tiles.append(np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)))
    result = np.full((height, len(tiles) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        result[:, number * (width + _GAP) :][:, :width] = tile
    return result
