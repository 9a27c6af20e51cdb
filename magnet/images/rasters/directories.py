"""The directories of a TIFF: the tags of its pages, of classic and BigTIFF in both byte orders.

Pillow's reader knows no BigTIFF whose numbers begin with their high bytes, and not the type by which a BigTIFF names
the pages below a page.
"""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, NamedTuple

from magnet.images.tiff import TIFF_MAGIC

__all__ = ["Directory", "Reader"]

_TYPES = {
    **{1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"},
    **{2: "s", 5: "II", 10: "ii"},  # text and fractions
}
_MOST_ENTRIES = 4096


class Directory(NamedTuple):
    """Tags by their numbers, single values as they are and others as tuples, and the position of the next directory."""

    tags: dict[int, Any]
    next: int


class Reader:
    """Reads the directories of an opened file.

    Raises:
        ValueError: it is no TIFF.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = os.fstat(file.fileno()).st_size
        start = self._read(0, 8)
        if not start.startswith(TIFF_MAGIC):
            raise ValueError("it is no TIFF")
        self._order = "<" if start.startswith(b"II") else ">"
        self._big = b"+" in start[2:4]
        self.first: int = self._numbers("Q", self._read(8, 8))[0] if self._big else self._numbers("I", start[4:])[0]

    def _read(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        content = self._file.read(length) if position + length <= self._end else b""
        if len(content) < length:
            raise ValueError(f"it ends before the {length} bytes at {position}")
        return content

    def _numbers(self, letters: str, content: bytes) -> tuple[Any, ...]:
        return struct.unpack(self._order + letters, content)

    def read(self, position: int) -> Directory:
        """The directory at a position.

        Raises:
            ValueError: it is not whole.
        """
        head, entry, offset = (8, 20, "Q") if self._big else (2, 12, "I")
        (count,) = self._numbers("Q" if self._big else "H", self._read(position, head))
        if not 0 < count <= _MOST_ENTRIES:
            raise ValueError(f"its page at {position} has {count} tags")
        width = 8 if self._big else 4
        content = self._read(position + head, count * entry + width)
        tags: dict[int, Any] = {}
        for i in range(count):
            one = content[i * entry : (i + 1) * entry]
            tag, kind, length = self._numbers("HH" + offset, one[: 4 + width])
            if kind in _TYPES:
                tags.setdefault(tag, self._values(kind, length, one[4 + width :]))
        return Directory(tags, self._numbers(offset, content[count * entry :])[0])

    def _values(self, kind: int, count: int, inline: bytes) -> Any:
        letters = _TYPES[kind]
        size = struct.calcsize("=" + letters) * count
        content = (
            inline[:size]
            if size <= len(inline)
            else self._read(self._numbers("Q" if self._big else "I", inline)[0], size)
        )
        if letters == "s":
            return content.rstrip(b"\0").decode("utf-8", "replace")
        values = self._numbers(f"{count}{letters}" if len(letters) == 1 else letters * count, content)
        if len(letters) == 2:
            values = tuple(a / b if b else 0.0 for a, b in zip(values[::2], values[1::2], strict=True))
        return values[0] if count == 1 else values
