"""A raster of bytes on disc that is written and read by box: the working file of a long job."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path, errors_name
from magnet.files.reading import check_file
from magnet.images.label_files.blocks import TILE, Box

__all__ = ["BlockFile"]

_MAGIC = b"magnet blocks 1\n"
_HEAD = struct.Struct("<16sQQQQ")  # magic, H, W, tile, fill
_DATA = 4096  # where the tiles start


class BlockFile:
    """An (H, W) uint8 raster in a file of square tiles, row after row. It is one of ``Blocks``.

    Pixels never written hold ``fill``, and take no room on file systems with sparse files. Read and written with
    pread and pwrite, not mapped: mapped pages count as memory of the process. Threads may write disjoint boxes, and
    read others, at the same time. Boxes that are written survive the process at once, and the machine after
    :meth:`flush`; which ones were is for the caller to record.

    Made by :meth:`create` and :meth:`open`.

    Attributes:
        path: the file.
        size: (H, W).
        tile: side of a tile, in pixels.
        fill: value of pixels never written.
    """

    def __init__(self, path: Path, descriptor: int, size: Size, tile: int, fill: int) -> None:
        self.path, self.size, self.tile, self.fill = path, size, tile, fill
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: str | os.PathLike[str], size: Size, *, fill: int, tile: int = TILE) -> BlockFile:
        """Make the file, all of ``fill``.

        Raises:
            ValueError: a size, tile or fill that cannot be.
            MagNetError: there is something at ``path`` already.
            OSError: it cannot be made.
        """
        target = Path(path)
        _check(size, tile, fill)
        if os.path.lexists(target):
            raise MagNetError(
                f"path: expected no file yet, but '{target}' is there already; open it, or choose another path"
            )
        with atomic_path(target) as temporary, temporary.open("xb") as file:
            file.write(_HEAD.pack(_MAGIC, *size, tile, fill))
            file.truncate(_length(size, tile))
        return cls(target, os.open(target, os.O_RDWR), size, tile, fill)

    @classmethod
    def open(cls, path: str | os.PathLike[str], size: Size, *, fill: int, tile: int = TILE) -> BlockFile:
        """Open a file that :meth:`create` made with the same arguments, to go on with it.

        Raises:
            OSError: it cannot be opened.
            MagNetError: it is not such a file, one of another size, or damaged.
        """
        target = check_file(path, "path", "a working file of labels")
        _check(size, tile, fill)
        descriptor = os.open(target, os.O_RDWR)
        try:
            head, length = os.pread(descriptor, _HEAD.size, 0), os.fstat(descriptor).st_size
            if len(head) < _HEAD.size or head[: len(_MAGIC)] != _MAGIC:
                raise MagNetError(
                    f"path: expected a working file of labels, got another file: '{target}'; choose another path"
                )
            _, *found = _HEAD.unpack(head)
            if found != [*size, tile, fill]:
                raise MagNetError(
                    f"path: expected the working file of {size[0]}x{size[1]} pixels in tiles of {tile} filled with "
                    f"{fill}, got {found[0]}x{found[1]} in tiles of {found[2]} filled with {found[3]}: '{target}'; "
                    "remove it to begin anew"
                )
            if length != (wanted := _length(size, tile)):
                raise MagNetError(
                    f"path: expected a working file of {wanted} bytes, got {length}: '{target}' is damaged; remove it "
                    "to begin anew"
                )
        except BaseException:
            os.close(descriptor)
            raise
        return cls(target, descriptor, size, tile, fill)

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write (y1 - y0, x1 - x0) uint8 ``values`` into ``box`` (x0, y0, x1, y1).

        Raises:
            ValueError: the box is empty or not within the raster, or the values do not fit it.
            OSError: the disc is full, say.
        """
        x0, y0, x1, y1 = self._checked(box)
        if values.shape != (y1 - y0, x1 - x0) or values.dtype != np.uint8:
            raise ValueError(
                f"values: expected ({y1 - y0}, {x1 - x0}) uint8 for the box {tuple(box)}, got {values.shape} of "
                f"{values.dtype}; convert or cut them"
            )
        # stored as differences from fill, as the zeros of a hole then stand for it
        stored = np.ascontiguousarray(values) ^ np.uint8(self.fill)
        with errors_name(self.path):
            for left, top, right, bottom in self._tiles(box):
                part = np.ascontiguousarray(stored[top - y0 : bottom - y0, left - x0 : right - x0])
                if right - left == self.tile:
                    self._put(part, self._offset(left, top))
                else:  # never more than the pixels asked for: the others of the row may be another thread's
                    for row in range(bottom - top):
                        self._put(part[row], self._offset(left, top + row))

    def read(self, box: Box) -> np.ndarray:
        """The values within ``box`` (x0, y0, x1, y1) as (y1 - y0, x1 - x0) uint8.

        Raises:
            ValueError: the box is empty or not within the raster.
            MagNetError: the file was cut short meanwhile.
        """
        x0, y0, x1, y1 = self._checked(box)
        values = np.empty((y1 - y0, x1 - x0), np.uint8)
        for left, top, right, bottom in self._tiles(box):
            start = left // self.tile * self.tile
            rows = self._get((bottom - top) * self.tile, self._offset(start, top)).reshape(-1, self.tile)
            values[top - y0 : bottom - y0, left - x0 : right - x0] = rows[:, left - start : right - start]
        values ^= np.uint8(self.fill)
        return values

    def flush(self) -> None:
        """Return when all that was written is on the disc."""
        with errors_name(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __enter__(self) -> BlockFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, box: Box) -> Box:
        x0, y0, x1, y1 = box
        height, width = self.size
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"box: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, got {tuple(box)}")
        if self._descriptor < 0:
            raise ValueError(f"path: expected an open file, but '{self.path}' was closed; open it anew")
        return x0, y0, x1, y1

    def _tiles(self, box: Box) -> list[Box]:
        """The parts of ``box`` that lie in one tile each."""
        x0, y0, x1, y1 = box
        side = self.tile
        found = []
        for y in range(y0 // side * side, y1, side):
            for x in range(x0 // side * side, x1, side):
                found.append((max(x, x0), max(y, y0), min(x + side, x1), min(y + side, y1)))
        return found

    def _offset(self, x: int, y: int) -> int:
        """Where a pixel lies in the file."""
        side = self.tile
        number = y // side * -(-self.size[1] // side) + x // side
        return _DATA + number * side * side + y % side * side + x % side

    def _put(self, values: np.ndarray, offset: int) -> None:
        left = values.reshape(-1).data
        while left:
            done = os.pwrite(self._descriptor, left, offset)
            left, offset = left[done:], offset + done

    def _get(self, length: int, offset: int) -> np.ndarray:
        parts: list[bytes] = []
        while length:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                raise MagNetError(f"path: '{self.path}' was cut short while it was used; remove it to begin anew")
            parts.append(part)
            length, offset = length - len(part), offset + len(part)
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), np.uint8)


def _check(size: Size, tile: int, fill: int) -> None:
    if min(size) < 1:
        raise ValueError(f"size: expected (H, W) of at least 1, got {tuple(size)}")
    if tile < 1:
        raise ValueError(f"tile: expected at least 1, got {tile}; 512 is usual")
    if not 0 <= fill <= 255:
        raise ValueError(f"fill: expected 0..255, got {fill}; 255 stands for no answer")


def _length(size: Size, tile: int) -> int:
    return _DATA + -(-size[0] // tile) * -(-size[1] // tile) * tile * tile
