"""Whether a JPEG is whole: libjpeg makes up what is missing, and Pillow does not pass on that it said so."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from magnet.images.opening import CorruptImageError

__all__ = ["whole_jpeg"]

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # the first that ends the data of a scan
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_SCAN, _END, _INTERVAL, _PROGRESSIVE = 0xDA, 0xD9, 0xDD, (0xC2, 0xCA)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_GREY = 127.5  # of blocks that are missing: 128, or 127 where it is inverted
_NEAR = 2.0  # how far from it rounding takes the brightness of their last pixel
_LUMA = (0.299, 0.587, 0.114)
_ZEROS = 64  # bytes at the end of a file that a download reserved, and never wrote
_MORE = bytes(range(1, 255)) * 8  # data of no meaning, without a marker


class _Scan(NamedTuple):
    """What a scan holds: its components, its first and last coefficient, and the bits that it leaves out of them.

    lacking: restart intervals that should be there and are not, where that is known.
    """

    components: tuple[int, ...]
    first: int
    last: int
    left_out: int
    lacking: int


class _Outline(NamedTuple):
    """Components, whether it is progressive, its scans, where the data of the last one end, whether with a mark."""

    components: tuple[int, ...]
    progressive: bool
    scans: list[_Scan]
    end: int
    marked: bool


class _Frame(NamedTuple):
    """Size in pixels, and the sampling factors (across, down) of each component."""

    height: int
    width: int
    sampling: dict[int, tuple[int, int]]

    def units(self, components: tuple[int, ...]) -> int:
        """Units that a scan of these components is coded in; 0 where that is not worked out: one of several."""
        across, down = (max(pair[i] for pair in self.sampling.values()) for i in (0, 1))
        if len(self.sampling) == 1:
            across = down = 1
        elif len(components) == 1:
            return 0
        return -(-self.width // (8 * across)) * -(-self.height // (8 * down))


@contextlib.contextmanager
def whole_jpeg(image: Image.Image, path: str | os.PathLike[str]) -> Iterator[None]:
    """Within it an opened JPEG is decoded; that all of it was there is checked afterwards.

    A JPEG that was cut, and ends as one should, has blocks of grey 128 up to its last, or lacks scans. Where the last
    pixel is as bright as that, the file is decoded once more with more data before its end: that changes nothing where
    all blocks were there. The last scan of a progressive JPEG, which refines what is there, may be cut unseen.

    Raises:
        CorruptImageError: pixels are missing.
    """
    yield
    data = Path(path).read_bytes()
    try:
        outline = _outline(data)
    except (IndexError, ValueError, struct.error):
        return  # no outline that is known here, but a picture to libjpeg
    if not outline.marked and data.endswith(bytes(_ZEROS)):
        raise _refusal("ends in zeros", path)
    if any(scan.lacking for scan in outline.scans):
        raise _refusal("lacks restart intervals", path)
    if not _all_scans(outline):
        raise _refusal("lacks scans", path)
    corner = image.getpixel((image.width - 1, image.height - 1))
    values: Any = corner if isinstance(corner, tuple) else (corner,)
    if len(values) == 3:  # colour comes in from the blocks beside, which leaves the brightness what it is
        values = (sum(part * value for part, value in zip(_LUMA, values, strict=True)),)
    doubtful = all(abs(value - _GREY) <= _NEAR for value in values)
    if doubtful or not outline.marked or (len(outline.scans) > 1 and not outline.progressive):
        longer = io.BytesIO(data[: outline.end] + _MORE + data[outline.end :])
        with Image.open(longer, formats=("JPEG",)) as other:
            if other.tobytes() != image.tobytes():
                raise _refusal("ends before its last pixel", path)


def _refusal(got: str, path: str | os.PathLike[str]) -> CorruptImageError:
    return CorruptImageError(f"image: expected a whole JPEG, got one that {got}; replace the file: '{path}'")


def _outline(data: bytes) -> _Outline:
    """Raises IndexError, ValueError or struct.error where the markers are in disorder."""
    components: tuple[int, ...] = ()
    scans: list[_Scan] = []
    progressive, interval, end, at = False, 0, 0, 2
    frame = _Frame(0, 0, {})
    while True:
        while data[at + 1] == 0xFF:  # as many as one likes
            at += 1
        kind = data[at + 1]
        if data[at] != 0xFF:
            raise IndexError
        if kind == _END:
            return _Outline(components, progressive, scans, end, marked=True)
        (length,) = struct.unpack_from(">H", data, at + 2)
        content, at = data[at + 4 : at + 2 + length], at + 2 + length
        if kind in _FRAMES:
            components, progressive = tuple(content[6 : 6 + 3 * content[5] : 3]), kind in _PROGRESSIVE
            factors = content[7 : 6 + 3 * content[5] : 3]
            pairs = [(one >> 4, one & 15) for one in factors]
            height, width = struct.unpack_from(">HH", content, 1)
            frame = _Frame(height, width, dict(zip(components, pairs, strict=True)))
        elif kind == _INTERVAL:
            (interval,) = struct.unpack_from(">H", content)
        elif kind == _SCAN:
            count = content[0]
            first, last, bits = content[1 + 2 * count : 4 + 2 * count]
            own = tuple(content[1 : 1 + 2 * count : 2])
            found = _MARKER.search(data, at)
            start, at = at, len(data) if found is None else found.start()
            lacking = 0
            if interval and (units := frame.units(own)):
                lacking = max(-(-units // interval) - 1 - len(_RESTART.findall(data, start, at)), 0)
            scans.append(_Scan(own, first, last, bits & 15, lacking))
            end = at
            while data[end - 1] == 0xFF:  # what fills up before a mark
                end -= 1
            if found is None:
                return _Outline(components, progressive, scans, end, marked=False)


def _all_scans(outline: _Outline) -> bool:
    """Whether each component is in a scan; of a progressive JPEG each coefficient with all its bits."""
    if not outline.progressive:
        return {*outline.components} <= {one for scan in outline.scans for one in scan.components}
    left_out = {one: [-1] * 64 for one in outline.components}
    for scan in outline.scans:
        for one in scan.components:
            left_out[one][scan.first : scan.last + 1] = [scan.left_out] * (scan.last + 1 - scan.first)
    return not any(map(any, left_out.values()))
