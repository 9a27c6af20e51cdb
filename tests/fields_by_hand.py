"""The labels of a raster by a plain loop over its fields, which those of ``predict_raster`` are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from walked import FIELD

from magnet import MagNet
from magnet.images.match_colours import OwnStatistics, match_channels, own_statistics
from magnet.images.tensors import normalize, to_tensor
from magnet.walk.fields import OVERLAP, lay_out


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def by_hand(
    model: MagNet,
    pixels: np.ndarray,
    size: tuple[int, int] = FIELD,
    tile: tuple[int, int] = (1, 1),
    **changes: object,
) -> np.ndarray:
    """Each field cut out and predicted as an image, and each pixel taken from its field."""
    height, width = pixels.shape[:2]
    own = own_statistics(to_tensor(pixels)[None]) if changes.get("match_colours") else None
    result = np.full((height, width), 255, np.uint8)
    for field in lay_out((height, width), size, overlap=OVERLAP, step=1, tile=tile):
        x0, y0, x1, y1 = field.box
        image = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        part = pixels[y0:y1, x0:x1]
        image[: part.shape[0], : part.shape[1]] = part
        labels = (
            model.predict(image, **changes).labels.numpy() if own is None else _in_colours(model, image, own, changes)
        )
        a, b, c, d = field.own
        result[b:d, a:c] = labels[b - y0 : d - y0, a - x0 : c - x0]
    return result


def _in_colours(model: MagNet, image: np.ndarray, own: OwnStatistics, changes: dict) -> np.ndarray:
    """Labels of an image whose colours are judged by those of what it is a part of."""
    mean, std = model.settings.colour_statistics
    seen = normalize(match_channels(to_tensor(image)[None], mean, std, own))
    return model.with_settings(**{**changes, "match_colours": False})(seen)[0].argmax(dim=0).numpy()
