"""Sizes of images by the head of their file."""

from __future__ import annotations

import os

from magnet.images.large import fitting_size, large_head
from magnet.images.opening import opened
from magnet.images.read import is_large, orientation
from magnet.images.tiff import read_head

__all__ = ["image_head", "image_size"]


def image_size(path: str | os.PathLike[str], *, upright: bool = True) -> tuple[int, int]:
    """(H, W) at which a data set reads an image, upright as its EXIF tag says or as stored, without decoding it.

    Raises:
        CorruptImageError: the head of the file cannot be read. MagNetError: it does not exist.
    """
    (height, width), turned = image_head(path)
    return (width, height) if upright and turned >= 5 else (height, width)


def image_head(path: str | os.PathLike[str]) -> tuple[tuple[int, int], int]:
    """(H, W) of the rows and columns in the file, as a data set reads them, and the orientation tag (1: none)."""
    if is_large(path):
        size, turned = large_head(path)
        return fitting_size(size), turned
    with opened(path) as image:
        width, height = image.size
        if image.format != "TIFF":
            return (height, width), orientation(image)
        head = read_head(path)  # Pillow has turned the size already
        turned = head.turned if head else 1
        return ((width, height) if turned >= 5 else (height, width)), turned
