"""Light, texture, blur and sensor noise: the drawing becomes a photograph of sorts."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from magnet.data.scenes.classes import GROUND, MARKING
from magnet.data.scenes.random_numbers import Random
from magnet.data.scenes.street import Street

# grain of each class, in the order of SCENE_CLASSES: noise of these many pixels, in grey levels
_GRAIN_SIZES = (1, 3, 12, 90)
_GRAIN = np.array(
    [
        (1, 0, 1, 10),
        (4, 6, 6, 8),
        (9, 7, 5, 9),
        (8, 9, 6, 5),
        (10, 20, 12, 4),
        (4, 3, 2, 3),
        (4, 3, 2, 3),
        (5, 6, 4, 2),
    ],
    dtype=np.float32,
)


def photograph(street: Street, seed: int) -> np.ndarray:
    """The painted street as (H, W, 3) uint8 RGB."""
    r = Random(seed, 9)
    labels = np.asarray(street.canvas.labels)
    image = np.asarray(street.canvas.colours.reduce(2), dtype=np.float32)
    image += _grain(labels, street.unit, r)[..., None]
    light = _light(street, labels, r)
    image *= (light * r.uniform(0.82, 1.12))[..., None]
    image *= np.array([r.uniform(0.94, 1.06), 1, r.uniform(0.94, 1.06)], dtype=np.float32)

    blur = ImageFilter.GaussianBlur(r.uniform(0.3, 0.7) * street.unit)
    soft = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).filter(blur)
    noisy = np.asarray(soft, dtype=np.float32)
    spread = r.uniform(2, 8)
    for channel in range(3):
        noisy[..., channel] += r.field(street.height, street.width) * spread
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _grain(labels: np.ndarray, unit: float, r: Random) -> np.ndarray:
    """(H, W) float32: the texture of each class."""
    height, width = labels.shape
    grain = np.zeros((height, width), np.float32)
    for k, size in enumerate(_GRAIN_SIZES):
        step = max(1, round(size * max(unit, 0.34)))
        field = r.field(-(-height // step) + 1, -(-width // step) + 1)
        if step > 1:
            field = np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))
        grain += np.ascontiguousarray(field[:height, :width]) * _GRAIN[:, k][labels]
    return grain


def _light(street: Street, labels: np.ndarray, r: Random) -> np.ndarray:
    """(H, W) float32: shadows on the ground, a slope of brightness, and a darker rim."""
    shadow = np.asarray(street.canvas.shadows.filter(ImageFilter.BoxBlur(1.2 * street.unit)), dtype=np.float32)
    strength = r.uniform(0.15, 0.45) / 255
    light = np.where((labels == GROUND) | (labels == MARKING), 1 - strength * shadow, np.float32(1))
    across = np.linspace(-1, 1, street.width, dtype=np.float32)[None]
    down = np.linspace(-1, 1, street.height, dtype=np.float32)[:, None]
    light *= 1 + r.uniform(-0.12, 0.12) * across + r.uniform(-0.08, 0.08) * down
    light *= 1 - r.uniform(0.04, 0.14) * (across * across + down * down)
    return light
