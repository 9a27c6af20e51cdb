"""TIFF files written by hand: layouts that Pillow cannot write, and huge ones of a few kilobytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

_SHORT, _LONG, _DOUBLE = (3, "H"), (4, "I"), (12, "d")
_LONG_TAGS = (256, 257, 273, 279, 324, 325)  # sizes and positions
_FORMATS = {"u": 1, "i": 2, "f": 3, "c": 6}  # what SampleFormat calls them


def _write(
    path: Path, tags: dict[int, Sequence[float]], where: int, blobs: Sequence[bytes], which: Sequence[int]
) -> None:
    """A file of ``tags``, and at the tag ``where`` the positions of the blobs ``which``, as often as they are named."""
    counts = 325 if where == 324 else 279
    tags = dict(sorted({**tags, where: [0] * len(which), counts: [0] * len(which)}.items()))
    kinds = {tag: _LONG if tag in _LONG_TAGS else _SHORT for tag in tags}
    kinds.update({tag: _DOUBLE for tag in tags if tag in (340, 341)})  # SMinSampleValue, SMaxSampleValue
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


def write_strips(
    path: Path,
    pixels: np.ndarray,
    *,
    extra: int | Sequence[int] | None = None,
    separate: bool = False,
    compressed: bool = False,
    rows: int | None = None,
    tags: Mapping[int, Sequence[float]] | None = None,
    keep: int | None = None,
) -> None:
    """(H, W, C) of any type in strips of ``rows`` rows, all by default, or of each channel (``separate`` planes).

    Args:
        extra: what ExtraSamples says of the last channels: 0 nothing, 1 alpha multiplied in, 2 alpha.
        compressed: by deflate.
        tags: added, or instead of those that the pixels ask for.
        keep: only this many strips are in the table.
    """
    height, width, channels = pixels.shape
    rows = rows or height
    said: dict[int, Sequence[float]] = {
        256: [width],
        257: [height],
        258: [pixels.itemsize * 8] * channels,
        259: [8 if compressed else 1],
        262: [2 if channels >= 3 else 1],
        277: [channels],
        278: [rows],
        284: [2 if separate else 1],
    }
    if pixels.dtype.kind != "u":
        said[339] = [_FORMATS[pixels.dtype.kind]] * channels
    if extra is not None:
        said[338] = [extra] if isinstance(extra, int) else extra
    said.update(tags or {})
    data = pixels.astype(pixels.dtype.newbyteorder("<"))
    planes = [data[..., c] for c in range(channels)] if separate else [data]
    blobs = [plane[top : top + rows].tobytes() for plane in planes for top in range(0, height, rows)]
    blobs = [zlib.compress(blob) for blob in blobs] if compressed else blobs
    _write(path, said, 273, blobs, range(len(blobs))[:keep])


def write_packed(path: Path, values: np.ndarray, bits: int) -> None:
    """(H, W) grey values of any number of bits, packed closely; rows must fill whole bytes."""
    text = "".join(f"{value:0{bits}b}" for value in values.ravel().tolist())
    height, width = values.shape
    tags: dict[int, Sequence[float]] = {
        256: [width],
        257: [height],
        258: [bits],
        259: [1],
        262: [1],
        277: [1],
        278: [height],
        284: [1],
    }
    _write(path, tags, 273, [int(text, 2).to_bytes(len(text) // 8, "big")], [0])


def write_tiles(
    path: Path,
    size: tuple[int, int],
    tiles: Sequence[np.ndarray],
    which: Callable[[int, int], int],
    turned: int = 1,
    keep: int | None = None,
) -> None:
    """A tiled image of ``size`` (H, W) whose tile in row i, column j is ``tiles[which(i, j)]``, stored once each.

    Tiles are (h, w, C) uint8, all of one size, a multiple of 16. ``turned`` is the orientation tag;
    ``keep``: only this many tiles are in the table.
    """
    h, w, channels = tiles[0].shape
    rows, columns = -(-size[0] // h), -(-size[1] // w)
    tags: dict[int, Sequence[float]] = {
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
    _write(path, tags, 324, blobs, [which(i, j) for i in range(rows) for j in range(columns)][:keep])
