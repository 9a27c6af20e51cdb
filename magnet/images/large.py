"""Images of any size, read by window: those past Pillow's size limit never become one array.

Pillow reads what is within ``PIL.Image.MAX_IMAGE_PIXELS``; that limit is never changed. Past it libvips decodes PNG,
JPEG, TIFF and WebP strip by strip (``pip install 'pyvips[binary]>=3'``), by the same rules as
:mod:`magnet.images.read`. Windows of a tiled TIFF are read where they lie; of other files the first window decodes the
whole file into a temporary one on disc (``TMPDIR``), as these can only be read from the top.

libvips has threads of its own: a process that was forked after it was used may read whole images, as loader workers do,
but must not ask for windows; start such processes by spawning.
"""

from __future__ import annotations

import math
import os

import numpy as np
from PIL import Image

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.read import LargeImageError, is_large, read_opaque, read_turned
from magnet.images.vips_file import LargeFile, bilinear

__all__ = [
    "WindowedImage",
    "fitting_size",
    "large_head",
    "open_image",
    "past_limit",
    "read_fitting_labels",
    "read_nearest",
]


class WindowedImage:
    """An image whose pixels are read when they are asked for; made by :func:`open_image`.

    Attributes:
        path: the file.
        size: (H, W), upright as the EXIF tag says, or as stored where that was asked for.
        large: True where it is past Pillow's size limit.
        turned: the orientation tag, 1 to 8; 1 where there is none.
    """

    def __init__(self, path: str | os.PathLike[str], upright: bool = True, page: int | None = None) -> None:
        self.path = path
        self._upright, self._page = upright, page
        self._opaque: np.ndarray | None = None  # read when it is asked for
        self._alpha_known = False
        self._pixels: np.ndarray | None = None
        self._file: LargeFile | None = None
        try:
            self._pixels, self.turned = read_turned(path, upright=upright, page=page)
        except LargeImageError:
            if page is not None:
                raise MagNetError(
                    f"page: expected a file within Pillow's size limit to read a page of it as a scene, but '{path}' "
                    "is past it; use predict_raster() (--extent ground), or save the page as a file of its own"
                ) from None
            self._file = LargeFile(path, upright)
            self.turned = self._file.turned
        self.large = self._pixels is None
        self.size: Size = self._file.size if self._pixels is None else self._pixels.shape[:2]  # type: ignore[union-attr]

    def read(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The window ``box`` (x0, y0, x1, y1), in pixels, as (y1 - y0, x1 - x0, 3) uint8 RGB.

        Raises:
            ValueError: the box is empty or not within the image.
            CorruptImageError: the file is damaged.
        """
        x0, y0, x1, y1 = self._within(box)
        if self._pixels is not None:
            return self._pixels[y0:y1, x0:x1].copy()
        assert self._file is not None
        return self._file.window(box)

    def opaque(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """Where the window ``box`` is not fully transparent, (y1 - y0, x1 - x0) bool; raises as :meth:`read`."""
        x0, y0, x1, y1 = self._within(box)
        if self._file is not None:
            return self._file.opaque(box)
        if not self._alpha_known:
            self._opaque, self._alpha_known = read_opaque(self.path, upright=self._upright, page=self._page), True
        if self._opaque is None:
            return np.ones((y1 - y0, x1 - x0), bool)
        return self._opaque[y0:y1, x0:x1].copy()

    def _within(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= self.size[1] and 0 <= y0 < y1 <= self.size[0]):
            raise ValueError(
                f"box: expected 0 <= x0 < x1 <= {self.size[1]} and 0 <= y0 < y1 <= {self.size[0]}, got {tuple(box)}"
            )
        return x0, y0, x1, y1

    def resized(self, size: Size) -> np.ndarray:
        """The whole image at ``size`` (h, w) as (h, w, 3) uint8 RGB: bilinear, antialiased when shrinking.

        A large image is read once, strip by strip; memory holds a strip, and the rows of the result that it reaches.

        Raises:
            CorruptImageError: the file is damaged.
        """
        if self._pixels is not None:
            return bilinear(self._pixels, size)
        assert self._file is not None
        return self._file.resized(size)

    def at_most(self, size: Size) -> np.ndarray:
        """The image itself, where Pillow reads it as a whole; a large one at ``size``."""
        return self._pixels if self._pixels is not None else self.resized(size)


def open_image(path: str | os.PathLike[str], *, upright: bool = True, page: int | None = None) -> WindowedImage:
    """Open an image of any size, upright as its EXIF tag says, or as its rows are stored.

    Args:
        path: the file.
        upright: turn it as its tag says.
        page: the number of a page that a TIFF has, from 0; None: it has to be one picture.

    Raises:
        CorruptImageError: the file is corrupt, not an image, or, past Pillow's size limit, of a kind not read there.
        MagNetError: it does not exist, is no file, may not be read, or is past the limit and libvips is not installed.
    """
    return WindowedImage(path, upright, page)


def read_nearest(path: str | os.PathLike[str], size: Size) -> np.ndarray:
    """A label file past Pillow's size limit at ``size``, each value the one at the centre of its pixel.

    Read strip by strip; it is not turned, as label files never are.

    Returns:
        (h, w) uint8 values of a grey image (0 and 1 of one bit), or (h, w, 3) uint8 RGB of a coloured one. The
        numbers of palette entries are not kept, only their colours.

    Raises:
        CorruptImageError, MagNetError: as :func:`open_image`.
    """
    return LargeFile(path).nearest(size)


def past_limit(size: Size) -> bool:
    """Whether an image of (H, W) is past Pillow's size limit."""
    return Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS


def fitting_size(size: Size) -> Size:
    """An image's size divided by the smallest whole number that brings it within Pillow's size limit.

    This is how data sets read what is past the limit: the image shrunk, its labels picked at the same size.
    """
    limit = size[0] * size[1] if Image.MAX_IMAGE_PIXELS is None else max(Image.MAX_IMAGE_PIXELS, 1)
    divisor = math.ceil(math.sqrt(size[0] * size[1] / limit))
    return max(size[0] // divisor, 1), max(size[1] // divisor, 1)


def read_fitting_labels(path: str | os.PathLike[str]) -> np.ndarray | None:
    """A label file past Pillow's size limit by :func:`read_nearest` at the :func:`fitting_size`; None if it is within.

    Raises:
        CorruptImageError, MagNetError: as :func:`open_image`.
    """
    if not is_large(path):
        return None
    file = LargeFile(path)
    return file.nearest(fitting_size(file.stored_size))


def large_head(path: str | os.PathLike[str]) -> tuple[Size, int]:
    """(H, W) as stored of a file past Pillow's size limit, and its orientation tag; errors as :func:`open_image`."""
    file = LargeFile(path)
    return file.stored_size, file.turned
