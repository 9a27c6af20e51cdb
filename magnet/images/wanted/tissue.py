"""Where a slide holds tissue: what is coloured, on a small level.

Otsu's threshold of the saturation (N. Otsu, "A threshold selection method from gray-level histograms", 1979) is what
pathology's own programs do; it is ten lines of NumPy, and the filters are Pillow's.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from magnet.bounds import Box, Size
from magnet.errors import MagNetError
from magnet.images.rasters.raster import Raster

__all__ = ["Tissue", "otsu"]

_SIDE = 2048  # most pixels of a side of what is looked at
_LEAST_SIDE = 256  # of a level that shows tissue
_UNLEVELLED = 8192  # largest side of a raster that is read whole for it
_MEDIAN, _CLOSING = 5, 5  # pixels


class Tissue:
    """Pixels that are more saturated than Otsu's threshold, small gaps between them closed.

    It is judged once, on the coarsest level with a side of 256 pixels or more, and of that on at most 2048 a side.

    Args:
        raster: 8-bit with red, green and blue.

    Raises:
        MagNetError: it has other pixels, or is large and has no levels; it cannot be read.
    """

    identity = "tissue 1"

    def __init__(self, raster: Raster) -> None:
        if raster.dtype != np.uint8 or not {"red", "green", "blue"} <= set(raster.colours):
            raise MagNetError(
                f"tissue: expected 8-bit red, green and blue, but '{raster.name}' has {', '.join(raster.colours)} of "
                f"{raster.dtype}; give a mask instead"
            )
        if len(raster.levels) == 1 and max(raster.size) > _UNLEVELLED:
            raise MagNetError(
                f"tissue: expected a raster with levels, of which a small one shows the tissue, but '{raster.name}' "
                "has one alone; give it overviews, as with gdaladdo, or give a mask instead"
            )
        self._size = raster.size
        self._wanted = _coloured(*raster.read((0, 0, *raster.size[::-1]), _looked_at(raster)), raster.colours)
        self.none_wanted = (
            f"tissue: expected coloured pixels in '{raster.name}', got none in what is meant of it; leave it out, or "
            "give a mask instead"
        )

    def read(self, box: Box) -> np.ndarray:
        (height, width), (rows, columns) = self._size, self._wanted.shape
        ys = ((np.arange(box[1], box[3]) + 0.5) * rows / height).astype(np.int64)
        xs = ((np.arange(box[0], box[2]) + 0.5) * columns / width).astype(np.int64)
        return self._wanted[np.ix_(ys, xs)]  # type: ignore[no-any-return]


def _looked_at(raster: Raster) -> Size:
    height, width = next((one for one in reversed(raster.levels) if max(one) >= _LEAST_SIDE), raster.size)
    scale = min(_SIDE / max(height, width), 1)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _coloured(pixels: np.ndarray, valid: np.ndarray, colours: tuple[str, ...]) -> np.ndarray:
    """(h, w) bool."""
    rgb = pixels[..., [colours.index(name) for name in ("red", "green", "blue")]].astype(np.float32)
    most, least = rgb.max(axis=2), rgb.min(axis=2)
    stored = np.rint((most - least) * 255 / np.maximum(most, 1)).astype(np.uint8)
    saturation = np.asarray(Image.fromarray(stored).filter(ImageFilter.MedianFilter(_MEDIAN)))
    above = (saturation > otsu(np.bincount(saturation[valid], minlength=256))) & valid
    grown = Image.fromarray(above.astype(np.uint8)).filter(ImageFilter.MaxFilter(_CLOSING))
    return (np.asarray(grown.filter(ImageFilter.MinFilter(_CLOSING))) > 0) & valid


def otsu(counts: np.ndarray) -> int:
    """The value that parts a histogram into two groups whose means differ most: the first is up to it, included."""
    values = np.arange(len(counts))
    below = counts.cumsum()
    above = below[-1] - below
    total = (counts * values).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    between[(below == 0) | (above == 0)] = 0
    return int(between.argmax()) if between.any() else len(counts) - 1
