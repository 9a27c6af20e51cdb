"""What Pillow reads, as 8-bit RGB by the rules of :mod:`magnet.images.read`: one level, transparent pixels invalid.

Its place is that of the world file and the .prj beside it.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from magnet.images.large import open_image
from magnet.images.opening import CorruptImageError, LargeImageError, opened
from magnet.images.rasters.raster import Box, Raster
from magnet.images.rasters.where import place_beside

__all__ = ["PictureRaster"]


class PictureRaster(Raster):
    """JPEG, PNG, WebP, BMP and others, upright as the EXIF tag says, or as stored; past Pillow's size limit, too.

    Attributes:
        turned: the orientation tag, 1 to 8; 1 where there is none.
        has_palette: whether the file's pixels are entries of a palette.
        large: whether it is past Pillow's size limit.
    """

    def __init__(self, path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None) -> None:
        self._image = open_image(path, upright=upright, page=page)
        self.turned, self.large = self._image.turned, self._image.large
        self.has_palette = _has_palette(path)
        self._alpha = threading.Lock()  # which is read once, when a window is first asked for
        place, sides = place_beside(path, self._image.size)
        if place is not None and upright and self._image.turned != 1:
            raise CorruptImageError(
                f"image: expected rows as they are stored, where a world file says their place, but '{path}' has an "
                f"orientation tag ({self._image.turned}); save it anew without one, or remove the world file"
            )
        super().__init__(
            os.fspath(path),
            (self._image.size,),
            3,
            np.dtype(np.uint8),
            sides=sides,
            place=place,
            colours=("red", "green", "blue"),
        )

    def _close(self) -> None:
        if hasattr(self, "_image"):
            del self._image

    def _window(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        with self._alpha:
            valid = self._image.opaque(box)
        return self._image.read(box), valid


def _has_palette(path: str | os.PathLike[str]) -> bool:
    with open(path, "rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG"):
        return head[25:] == b"\x03"
    try:
        with opened(path) as image:
            return image.mode == "P"
    except LargeImageError:  # of other formats that are read past Pillow's limit none has one here
        return False
