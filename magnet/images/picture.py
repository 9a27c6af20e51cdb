"""What people are shown of an image: three of its channels."""

from __future__ import annotations

import numpy as np

__all__ = ["as_picture"]


def as_picture(image: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8, or float32 in [0, 1] -> (H, W, 3) uint8: the first three channels, or the first as grey."""
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if shown.dtype == np.uint8:
        return shown
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
