"""Palette images of any size, written strip by strip. Pillow writes only what fits into memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

__all__ = ["write_palette_png"]

_INDEXED = 3  # the colour type


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
        file.write(b"\x89PNG\r\n\x1a\n")
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


def _chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
