"""NumPy arrays, in memory or mapped from .npy files."""

from __future__ import annotations

import math
import os

import numpy as np

from magnet.images.opening import failures
from magnet.images.rasters.raster import Box, Raster

__all__ = ["ArrayRaster", "check_layout", "invalid_numbers", "open_npy", "pixels_without_value", "representable"]

_MOST_CHANNELS = 1024  # hyperspectral images have hundreds


def check_layout(name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """(H, W) or (H, W, C) of numbers; ``name`` is of the message.

    Raises:
        ValueError: anything else, or what looks like channels first.
    """
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(
            f"source: expected integers or floats of up to 64 bits, got {dtype} ({name}); convert it, as with astype"
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"source: expected an (H, W) or (H, W, C) array with pixels, got shape {shape} ({name}); "
            "index or reshape it"
        )
    if len(shape) == 3 and (shape[2] > _MOST_CHANNELS or (shape[0] <= 16 < shape[2])):
        raise ValueError(
            f"source: expected an (H, W, C) array, got shape {shape}, which would be {shape[2]} channels ({name}); "
            "if channels come first, use np.moveaxis(array, 0, -1)"
        )


def invalid_numbers(pixels: np.ndarray) -> np.ndarray | None:
    """(h, w) bool, True where a channel of (h, w, channels) is NaN or infinite; None: nowhere."""
    if pixels.dtype.kind != "f":
        return None
    wrong = ~np.isfinite(pixels).all(axis=2)
    return wrong if wrong.any() else None


def representable(nodata: float | None, kind: np.dtype) -> float | None:
    """The value as pixels hold it; None where they cannot, as -9999 of bytes."""
    if nodata is None or kind.kind == "f":
        return nodata
    limits = np.iinfo(kind)
    return int(nodata) if math.isfinite(nodata) and limits.min <= nodata <= limits.max and nodata % 1 == 0 else None


def pixels_without_value(pixels: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """(h, w) bool, True where pixels (h, w, channels) are nodata or no numbers; None: nowhere.

    Of unsigned values nodata is one that pixels may have, such as 0: only where all bands have it there is none.
    Others, such as -9999, are never measured: one band is enough.
    """
    wrong = invalid_numbers(pixels)
    if nodata is not None:
        same = pixels == np.asarray(nodata, pixels.dtype)  # NaN is found already
        there = same.all(axis=2) if pixels.dtype.kind == "u" else same.any(axis=2)
        wrong = there if wrong is None else wrong | there
    return wrong


class ArrayRaster(Raster):
    """An (H, W) or (H, W, C) array; pixels with NaN or infinity are invalid."""

    def __init__(self, array: np.ndarray, name: str = "array") -> None:
        check_layout(name, array.shape, array.dtype)
        self._array = array if array.ndim == 3 else array[..., None]
        height, width, channels = self._array.shape
        super().__init__(name, ((height, width),), channels, array.dtype.newbyteorder("="))
        self.may_be_invalid = self.dtype.kind == "f"

    def _close(self) -> None:
        self._array = np.empty((0, 0, 0), self.dtype)  # a mapped file is let go of

    def _window(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = box
        pixels = np.array(self._array[y0:y1, x0:x1], self.dtype, order="C")
        wrong = invalid_numbers(pixels)
        return pixels, np.ones(pixels.shape[:2], bool) if wrong is None else ~wrong


def open_npy(path: str | os.PathLike[str]) -> ArrayRaster:
    """A .npy file, read as it is needed.

    Raises:
        CorruptImageError: it is damaged, cut short, or holds Python objects.
    """
    with failures(path):  # NumPy's parser of the head raises whatever comes
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return ArrayRaster(array, os.fspath(path))
