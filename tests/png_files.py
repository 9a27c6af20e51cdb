"""PNG files written by hand: kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def write_png(path: Path, size: tuple[int, int], bits: int, colour_type: int, rows: bytes) -> None:
    """``rows`` are the bytes of all rows, each after the byte of its filter."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour_type, 0, 0, 0)
    data = zlib.compress(rows, 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def write_png16(path: Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint16 as a PNG of 16-bit colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    write_png(path, pixels.shape[:2], 16, 2, rows)


def write_png_bits(path: Path, grey: np.ndarray, bits: int) -> None:
    """(H, W) grey of 1, 2 or 4 bits; rows must fill whole bytes."""
    texts = ("".join(f"{value:0{bits}b}" for value in row) for row in grey.tolist())
    rows = b"".join(b"\0" + int(text, 2).to_bytes(len(text) // 8, "big") for text in texts)
    write_png(path, grey.shape, bits, 0, rows)
