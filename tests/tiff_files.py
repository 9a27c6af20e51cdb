"""TIFF files written by hand: layouts that Pillow cannot write, and huge ones of a few kilobytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_SHORT, _LONG = (3, "H"), (4, "I")
_LONG_TAGS = (256, 257, 273, 279, 324, 325)  # sizes and positions


def _write(
    path: Path, tags: dict[int, Sequence[int]], where: int, blobs: Sequence[bytes], which: Sequence[int]
) -> None:
    """A file of ``tags``, and at the tag ``where`` the positions of the blobs ``which``, as often as they are named."""
    counts = 325 if where == 324 else 279
    tags = dict(sorted({**tags, where: [0] * len(which), counts: [0] * len(which)}.items()))
    kinds = {tag: _LONG if tag in _LONG_TAGS else _SHORT for tag in tags}
    outside = {tag: struct.calcsize(kinds[tag][1]) * len(values) for tag, values in tags.items()}
    start = 8 + 2 + 12 * len(tags) + 4
    position = start + sum(size for size in outside.values() if size > 4)
    offsets = []
    for blob in blobs:
        offsets.append(position)
        position += len(blob)
    tags = {**tags, where: [offsets[i] for i in which], counts: [len(blobs[i]) for i in which]}
    entries, extra = b"", b""
    for tag, values in tags.items():
        number, letter = kinds[tag]
        data = struct.pack(f"<{len(values)}{letter}", *values)
        entries += struct.pack("<HHI", tag, number, len(values))
        if len(data) > 4:
            entries += struct.pack("<I", start + len(extra))
            extra += data
        else:
            entries += data.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head + extra + b"".join(blobs))


def write_strips(path: Path, pixels: np.ndarray, *, extra: int | None = None, separate: bool = False) -> None:
    """(H, W, C) uint8 or uint16, uncompressed, in one strip, or in one for each channel (``separate`` planes).

    ``extra`` is what ExtraSamples says of the last channel: 0 nothing, 1 alpha multiplied in, 2 alpha.
    """
    height, width, channels = pixels.shape
    tags = {
        256: [width],
        257: [height],
        258: [pixels.itemsize * 8] * channels,
        259: [1],
        262: [2 if channels >= 3 else 1],
        277: [channels],
        278: [height],
        284: [2 if separate else 1],
    }
    if extra is not None:
        tags[338] = [extra]
    data = pixels.astype(pixels.dtype.newbyteorder("<"))
    blobs = [data[..., c].tobytes() for c in range(channels)] if separate else [data.tobytes()]
    _write(path, tags, 273, blobs, range(len(blobs)))


def write_tiles(
    path: Path, size: tuple[int, int], tiles: Sequence[np.ndarray], which: Callable[[int, int], int], turned: int = 1
) -> None:
    """A tiled image of ``size`` (H, W) whose tile in row i, column j is ``tiles[which(i, j)]``, stored once each.

    Tiles are (h, w, C) uint8, all of one size, a multiple of 16. ``turned`` is the orientation tag.
    """
    h, w, channels = tiles[0].shape
    rows, columns = -(-size[0] // h), -(-size[1] // w)
    tags = {
        256: [size[1]],
        257: [size[0]],
        258: [8] * channels,
        259: [8],
        262: [2 if channels >= 3 else 1],
        274: [turned],
        277: [channels],
        284: [1],
        322: [w],
        323: [h],
    }
    blobs = [zlib.compress(np.ascontiguousarray(tile).tobytes()) for tile in tiles]
    _write(path, tags, 324, blobs, [which(i, j) for i in range(rows) for j in range(columns)])
