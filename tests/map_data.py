"""A data folder of small maps made on the spot: GeoTIFFs with overviews, labels as GeoTIFF whose nodata is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from raster_files import noise, smooth, write_tiff
from rasterio import Affine

PLACE: dict[str, Any] = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 4e5, 0, -0.5, 5.8e6)}  # half a metre a pixel
NODATA = 9


def map_pixels(size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 without a 0, and (H, W) uint8 labels of two classes, 255 in a corner."""
    labels = (smooth(*size)[..., seed % 3] > 127).astype(np.uint8)
    pixels = (60 + 120 * labels[..., None] + noise(*size, seed=seed) // 5).astype(np.uint8)
    labels[: size[0] // 4, : size[1] // 3] = 255
    return pixels, labels


def write_map(
    image: Path, labels: Path, pixels: np.ndarray, ids: np.ndarray, *, overviews: tuple[int, ...] = (2, 4), **more: Any
) -> None:
    """One map, nodata where its labels are 255."""
    options = {"compress": "deflate", **PLACE, **more}
    write_tiff(image, pixels, overviews=overviews, resampling="average", **options)
    write_tiff(labels, np.where(ids == 255, NODATA, ids)[..., None], nodata=NODATA, **options)


def map_folder(path: Path, sizes: dict[str, tuple[tuple[int, int], ...]], **more: Any) -> Path:
    """A data folder whose splits have maps of the given sizes; returns its path."""
    for part in ("images", "labels"):
        (path / part).mkdir(parents=True)
    (path / "classes.txt").write_text("0 ground\n1 thing\n")
    number = 0
    for split, of_split in sizes.items():
        stems = []
        for size in of_split:
            stem = f"map{number}"
            write_map(
                path / "images" / f"{stem}.tif", path / "labels" / f"{stem}.tif", *map_pixels(size, number), **more
            )
            stems.append(stem)
            number += 1
        (path / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return path
