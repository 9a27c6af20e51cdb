"""Pictures within a page: small files of bounded size, written into it as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from magnet.images.draw import Colours, Window, label_image
from magnet.pages.page import Layer, View

__all__ = ["SIDE", "WINDOW", "views_of"]

SIDE = 640  # pixels of the longer side of an image in a page
WINDOW = 320  # pixels of the sides of a part that is shown as it is
_IMAGE, _LABELS = 80 << 10, 24 << 10  # bytes of a picture of an image and of its labels
_PART = 2  # pictures of a part may have so many times fewer
_IGNORED = 255
_QUALITY = 80


def views_of(image: np.ndarray, labels: Mapping[str, np.ndarray], colours: Colours, part: Window | None) -> list[View]:
    """An image and its label maps as a page shows them: shrunk to ``SIDE``, and one part of it as it is.

    Pictures of the image have at most 80 KiB and those of labels 24 KiB, half of that those of the part: what would be
    larger is shrunk further.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 label maps by name; pixels of 255 let the image through.
        colours: RGB of each class.
        part: to be shown beside the whole image, where that is shrunk; None: nothing is.
    """
    height, width = image.shape[:2]
    views = [_view("whole image" if part else "", image, labels, colours, 1)]
    if part and max(height, width) > SIDE:
        at = part.slices
        title = f"{part.x1 - part.x0} x {part.y1 - part.y0} pixels from ({part.x0}, {part.y0}), as they are"
        views.append(_view(title, image[at], {name: one[at] for name, one in labels.items()}, colours, _PART))
    return views


def _view(title: str, image: np.ndarray, labels: Mapping[str, np.ndarray], colours: Colours, share: int) -> View:
    layers = [Layer("image", _image_uri(image, _IMAGE // share))]
    layers += [Layer(name, _labels_uri(one, colours, _LABELS // share)) for name, one in labels.items()]
    return View(title, image.shape[1], image.shape[0], layers)


def _image_uri(image: np.ndarray, most: int) -> str:
    picture = Image.fromarray(image)

    def jpeg(side: int) -> bytes:
        buffer = io.BytesIO()
        _shrunk(picture, side, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()

    return _uri("image/jpeg", _fitted(jpeg, max(picture.size), most))


def _labels_uri(labels: np.ndarray, colours: Colours, most: int) -> str:
    picture = label_image(labels, colours)

    def png(side: int) -> bytes:
        buffer = io.BytesIO()
        shrunk = _shrunk(picture, side, Image.Resampling.NEAREST)
        shrunk.save(buffer, "PNG", optimize=True, transparency=_IGNORED)
        return buffer.getvalue()

    return _uri("image/png", _fitted(png, max(picture.size), most))


def _shrunk(picture: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    longer = max(picture.size)
    if longer <= side:
        return picture
    width, height = (max(1, round(one * side / longer)) for one in picture.size)
    return picture.resize((width, height), how)


def _fitted(encode: Callable[[int], bytes], longer: int, most: int) -> bytes:
    """What ``encode`` makes of the longest side that takes no more than ``most`` bytes, in steps of a fifth."""
    side = min(longer, SIDE)
    while len(found := encode(side)) > most and side > 1:
        side = side * 4 // 5
    return found


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
