"""What Pillow leaves out of PNG: palette images of any size, written strip by strip, and comparing checksums."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

__all__ = ["check_checksums", "write_palette_png"]

_INDEXED = 3  # the colour type
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_palette_png(path: Path, size: tuple[int, int], palette: np.ndarray, strips: Iterable[np.ndarray]) -> None:
    """Write an 8-bit palette PNG.

    Args:
        path: the file to make or replace.
        size: (H, W).
        palette: (256, 3) uint8 RGB.
        strips: (h, W) uint8 indices, from the top, of H rows together.

    Raises:
        ValueError: the strips are not of that size.
    """
    height, width = size
    packer = zlib.compressobj(1)  # label maps shrink well even so
    rows = 0
    with open(path, "wb") as file:
        file.write(_SIGNATURE)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0))
        _chunk(file, b"PLTE", palette.astype(np.uint8).tobytes())
        for strip in strips:
            rows += strip.shape[0]
            if strip.shape[1] != width or strip.dtype != np.uint8:
                raise ValueError(f"strips: expected {width} columns of uint8, got {strip.shape[1]} of {strip.dtype}")
            # each row starts with the number of its filter, 0: none
            _chunk(file, b"IDAT", packer.compress(np.pad(strip, ((0, 0), (1, 0))).tobytes()))
        if rows != height:
            raise ValueError(f"strips: expected {height} rows together, got {rows}")
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def check_checksums(path: str | os.PathLike[str]) -> None:
    """Compare the checksums of the pixels, and of what stands before them. Pillow decodes what is damaged in silence.

    Raises:
        ValueError: a chunk is damaged, or the file ends within it.
    """
    with open(path, "rb") as file:
        file.seek(len(_SIGNATURE))
        kind = b""
        while kind != b"IEND" and (head := file.read(8)):
            length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"IEND")
            left, found = length, zlib.crc32(kind)
            while left and (part := file.read(min(left, 1 << 20))):
                left, found = left - len(part), zlib.crc32(part, found)
            if kind != b"IEND" and (left or file.read(4) != struct.pack(">I", found)):
                name = kind.decode("ascii", "replace")
                raise ValueError(
                    f"the file ends within chunk {name}" if left else f"the checksum of chunk {name} is wrong"
                )


def _chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
