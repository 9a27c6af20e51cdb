"""Linear resizing of 8-bit images in 11-bit fixed point: the arithmetic of OpenCV's INTER_LINEAR, bit for bit.

The public release resizes with OpenCV, whose results differ from floating-point interpolation by a grey level here and
there; ``compat="official"`` needs the same bytes, without depending on OpenCV.
"""

from __future__ import annotations

import numpy as np

_ONE = np.float32(1 << 11)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each target pixel: first source pixel (may be -1), and its weight and the next one's in 1/2048."""
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)  # half-pixel centres
    first = np.floor(position).astype(np.int64)
    fraction = position - first.astype(np.float32)
    return first, np.rint((1 - fraction) * _ONE).astype(np.int32), np.rint(fraction * _ONE).astype(np.int32)


def resize_uint8(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) uint8 -> (h, w, C) uint8 for ``size`` (h, w), without antialiasing."""
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image
    x, left, right = _taps(width, size[1])
    beyond = (x < 0) | (x >= width - 1)  # one tap at the border
    left, right = np.where(beyond, np.int32(_ONE), left), np.where(beyond, 0, right)
    x = x.clip(0, width - 1)
    y, upper, lower = _taps(height, size[0])

    result = np.empty((*size, image.shape[2]), np.uint8)
    for start in range(0, size[0], 256):  # in strips: the intermediate sums are four times the image
        rows = slice(start, start + 256)
        top, bottom = (image[(y[rows] + offset).clip(0, height - 1)].astype(np.int32) for offset in (0, 1))
        top, bottom = (
            (part[:, x] * left[:, None] + part[:, (x + 1).clip(max=width - 1)] * right[:, None]) >> 4
            for part in (top, bottom)
        )
        total = ((top * upper[rows, None, None]) >> 16) + ((bottom * lower[rows, None, None]) >> 16)
        result[rows] = ((total + 2) >> 2).clip(0, 255)
    return result
