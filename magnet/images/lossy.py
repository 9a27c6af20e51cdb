"""Which image files have gone through lossy compression, so that their values are not quite what was meant."""

from __future__ import annotations

import os

from magnet.images.tiff import read_head

__all__ = ["lossy_format"]

_JPEG_IN_TIFF = (6, 7)  # compressions


def lossy_format(path: str | os.PathLike[str]) -> str:
    """The lossy format of a file, by its first bytes, or by the compression of the first page of a TIFF; empty: none
    that is known."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    page = read_head(path)
    if page is not None:
        return "JPEG" if page.compression in _JPEG_IN_TIFF else ""
    # JPEG 2000 says in its coding style (COD) by which wavelet: 0 is the irreversible one
    style = head.find(b"\xff\x52")
    if (head.startswith(b"\xff\x4f") or head[4:8] == b"jP  ") and head[style + 13 : style + 14] == b"\0":
        return "JPEG 2000"
    return "WebP" if head[8:12] == b"WEBP" and b"VP8L" not in head else ""
