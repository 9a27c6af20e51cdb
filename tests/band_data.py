"""A data folder of small TIFFs of any bands and types, in the layout of ``tiny_data``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from raster_files import write_tiff
from tiny_data import tiny_folder


def band_folder(path: Path, channels: int = 5, dtype: Any = np.uint16, most: float = 3000, **profile: Any) -> Path:
    """Write one whose images have ``channels`` bands of 0 to ``most``: a disc, brighter by another factor in each."""
    tiny_folder(path)
    rng = np.random.default_rng(1)
    for image in sorted((path / "images").iterdir()):
        labels = np.asarray(Image.open(path / "labels" / f"{image.stem}.png"))
        share = 0.2 + 0.6 * (labels == 1)[..., None] * np.linspace(0.3, 1, channels)
        pixels = (share + rng.uniform(0, 0.1, share.shape)) * most
        write_tiff(image.with_suffix(".tif"), pixels.astype(dtype), **profile)
        image.unlink()
    return path


def read_bands(paths: Sequence[Path]) -> list[np.ndarray]:
    """(H, W, C) of each file, as rasterio reads it."""
    import rasterio

    found = []
    for path in paths:
        with rasterio.open(path) as file:
            found.append(np.moveaxis(file.read(), 0, -1))
    return found
