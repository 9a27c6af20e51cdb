"""Resizing the pixels of training images, as Pillow does it, whatever their channels and values."""

from __future__ import annotations

import numpy as np
from PIL import Image

from magnet.bounds import Size

__all__ = ["resize_pixels"]


def resize_pixels(image: np.ndarray, size: Size, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """Bilinear, antialiased when shrinking.

    Args:
        image: (H, W, C) uint8 or float32.
        size: (h, w) of the result.
        box: (x0, y0, x1, y1) of the part that becomes it, fractions allowed; None: the whole.

    Returns:
        (h, w, C) of the same type.
    """
    target = size[1], size[0]
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return np.array(Image.fromarray(image).resize(target, Image.Resampling.BILINEAR, box=box))
    bands = [Image.fromarray(np.ascontiguousarray(image[..., i])) for i in range(image.shape[2])]
    return np.stack([np.asarray(band.resize(target, Image.Resampling.BILINEAR, box=box)) for band in bands], axis=2)
