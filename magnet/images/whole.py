"""Whether all of an image was in its file, asked around its decoding, of formats of which Pillow does not say it."""

from __future__ import annotations

import contextlib
import os

from PIL import Image

from magnet.images.jpeg import whole_jpeg
from magnet.images.png import whole_png

__all__ = ["whole"]


def whole(image: Image.Image, path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[None]:
    """A context in which an image, opened from ``path`` and not yet loaded, is decoded.

    Raises:
        CorruptImageError, ValueError: on leaving, or entering, it: pixels are missing, or checksums are wrong.
    """
    if image.format == "PNG":
        return whole_png(image, path)
    if image.format in ("JPEG", "MPO"):
        return whole_jpeg(image, path)
    return contextlib.nullcontext()
