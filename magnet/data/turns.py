"""EXIF turns: cameras store a photograph as the sensor saw it, and say how to turn it; labels are never turned.

Labels drawn on the upright picture fit it turned, those drawn by tools that do not know EXIF fit it as it is stored.
"""

from __future__ import annotations

import os

from magnet.data.sizes import image_head
from magnet.errors import MagNetError

__all__ = ["turn_hint", "turn_note"]

_OTHER = {"apply": "ignore", "ignore": "apply"}


def turn_note(path: str | os.PathLike[str], turned: int, size: tuple[int, ...], exif: str) -> tuple[str, bool]:
    """What to tell of an image with an EXIF turn, and whether its labels of (H, W) ``size`` fit it either way."""
    told = (
        f"'{path}' carries an EXIF turn (orientation {turned}), which is {'applied' if exif == 'apply' else 'ignored'}"
    )
    either = turned < 5 or size[0] == size[1]
    if not either:
        return f"{told} (data.exif: {exif})", False
    return (
        f"{told}, and its labels fit it either way; compare them with the image, and set data.exif to {_OTHER[exif]} "
        "if they lie otherwise",
        True,
    )


def turn_hint(path: str | os.PathLike[str], labels: tuple[int, ...], exif: str) -> str:
    """What to add to the message that an image and its labels of (H, W) ``labels`` differ in size; mostly nothing."""
    try:
        stored, turned = image_head(path)
    except MagNetError:
        return ""
    fits = stored if exif == "apply" else stored[::-1]
    if turned < 5 or fits != tuple(labels):
        return ""
    how = "turns it, and the labels fit it as it is stored" if exif == "apply" else "would turn it so that they fit"
    return f": its EXIF tag (orientation {turned}) {how}; set data.exif to {_OTHER[exif]}"
