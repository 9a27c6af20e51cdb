"""Sizes of images by the head of their file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from magnet.errors import MagNetError
from magnet.images import is_large, unreadable
from magnet.windows import fitting_size, large_size

__all__ = ["image_size"]

_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 lie on their side
_ON_THEIR_SIDE = (5, 6, 7, 8)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) at which a data set reads an image, upright as its EXIF tag says, without decoding it.

    Raises:
        CorruptImageError: the head of the file cannot be read. MagNetError: it does not exist.
    """
    if is_large(path):
        return fitting_size(large_size(path))
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow turns the size of a TIFF by itself
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE
    except FileNotFoundError:
        raise MagNetError(f"image: expected a file, but '{path}' does not exist; check the path") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise unreadable(path, error) from error
    return (width, height) if turned else (height, width)
