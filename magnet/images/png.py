"""What Pillow leaves out of PNG: palette and grey images written strip by strip, and whether a file is whole."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from magnet.images.opening import CorruptImageError

__all__ = ["check_checksums", "whole_png", "write_grey_png", "write_palette_png"]

_GREY, _INDEXED = 0, 3  # colour types
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {_GREY: 1, 2: 3, _INDEXED: 1, 4: 2, 6: 4}  # by colour type
_WHOLE = ((0, 0, 1, 1),)  # first row, first column, and the steps, of each pass
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
# what the last pixel holds before it is decoded: hardly any picture ends in it
_MARKS: dict[str, int | tuple[int, ...]] = {
    "L": 254,
    "P": 254,
    "I": -1,
    "I;16": 65001,
    "LA": (254, 1),
    "RGB": (254, 1, 254),
    "RGBA": (254, 1, 254, 1),
}
_AT_ONCE = 1 << 20  # bytes


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
    _write_png(path, size, _INDEXED, palette.astype(np.uint8).tobytes(), strips)


def write_grey_png(path: Path, size: tuple[int, int], strips: Iterable[np.ndarray]) -> None:
    """Write an 8-bit grey PNG of (h, W) uint8 strips, as :func:`write_palette_png`."""
    _write_png(path, size, _GREY, b"", strips)


def _write_png(
    path: Path, size: tuple[int, int], colour_type: int, palette: bytes, strips: Iterable[np.ndarray]
) -> None:
    height, width = size
    packer = zlib.compressobj(1)  # label maps shrink well even so
    rows = 0
    with open(path, "wb") as file:
        file.write(_SIGNATURE)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        if palette:
            _chunk(file, b"PLTE", palette)
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


@contextlib.contextmanager
def whole_png(image: Image.Image, path: str | os.PathLike[str]) -> Iterator[None]:
    """Within it an opened PNG is decoded; that all of it was there is checked before and after.

    Pillow takes data that end early, at the end of a row, for whole, and leaves the other rows 0. So the last pixel is
    marked beforehand, which costs nothing, and what the data hold is counted where the mark is still there.

    Raises:
        CorruptImageError: fewer bytes than the pixels need.
        ValueError: a chunk is damaged, see :func:`check_checksums`.
    """
    check_checksums(path)
    last = image.width - 1, image.height - 1
    mark = None if image.info.get("interlace") else _MARKS.get(image.mode)
    if mark is not None:
        canvas = Image.new(image.mode, image.size)
        canvas.putpixel(last, mark)
        image.im = canvas.im
    yield
    if (mark is None or image.getpixel(last) == mark) and (missing := _missing_bytes(path)):
        raise CorruptImageError(
            f"image: expected a whole PNG, got {missing} bytes fewer than its pixels need; write the file anew: "
            f"'{path}'"
        )


def _missing_bytes(path: str | os.PathLike[str]) -> int:
    """How many bytes the pixels of a PNG lack, by inflating its data."""
    inflater = zlib.decompressobj()
    needed = found = 0
    with open(path, "rb") as file:
        file.seek(len(_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            content = file.read(length) if kind in (b"IHDR", b"IDAT") else b""
            file.seek(4 if content else length + 4, os.SEEK_CUR)
            if kind == b"IHDR":
                needed = _needed_bytes(content)
            elif kind == b"IDAT":
                while (content and found < needed) and (part := inflater.decompress(content, _AT_ONCE)):
                    found, content = found + len(part), inflater.unconsumed_tail
    return max(needed - found, 0)


def _needed_bytes(header: bytes) -> int:
    """Bytes of all rows, each with the number of its filter."""
    width, height, bits, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    needed = 0
    for top, left, down, right in _ADAM7 if interlaced else _WHOLE:
        rows, columns = -(-(height - top) // down), -(-(width - left) // right)
        if rows > 0 and columns > 0:
            needed += rows * (1 + -(-columns * bits * _CHANNELS[colour_type] // 8))
    return needed


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
