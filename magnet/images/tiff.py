"""What the head of a TIFF says of its pixels, and whether they can be read as they are meant.

TIFF holds far more than pictures: measurements of any type and range, many bands, stacks. Decoders open much of that
and give pixels that look like an image and are not the file's. Both decoders, Pillow and libvips, are asked only for
what they were seen to decode right (tests/data/test_tiff_kinds.py); all else is refused in the words of the file.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, ImagePalette, TiffImagePlugin

from magnet.images.opening import CorruptImageError, PixelsError, quiet

__all__ = ["DAMAGE", "TIFF_MAGIC", "Pieces", "TiffHead", "head_of", "mend_palette", "read_head"]

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_STRIPS, _ORIENTATION, _BANDS, _ROWS_PER_STRIP, _STRIP_BYTES, _MIN, _MAX, _PLANAR = (
    273,
    274,
    277,
    278,
    279,
    280,
    281,
    284,
)
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT, _SMIN, _SMAX = 322, 323, 324, 325, 338, 339, 340, 341
_SUBFILE, _REDUCED_OR_MASK = 254, 0b101
_DEPTH = 32997  # planes of one page
_NODATA = 42113
_PREDICTOR, _COLOUR_MAP, _SUB_PAGES = 317, 320, 330
_MOST_PAGES = 64  # looked at
_OLD_JPEG, _DEFLATE = 6, (8, 32946)  # compressions
# none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, zstd: what Pillow's libtiff always has
_COMMON = (1, 2, 3, 4, 5, 6, 7, *_DEFLATE, 32773, 34925, 50000)
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)
_WHITE_IS_ZERO, _YCBCR = 0, 6  # of photometric
_MEANINGS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_COLOURS = {"grey": 1, "RGB": 3, "palette": 1, "CMYK": 4, "YCbCr": 3, "Lab": 3}
_TYPES = {1: "unsigned", 2: "signed", 3: "float", 4: "untyped", 5: "complex", 6: "complex"}
_FULL = 0xFFFF


class Pieces(NamedTuple):
    """Where the strips or tiles of a TIFF are: their (height, width), their positions and lengths in bytes, and the
    predictor (1: none, 2: differences of neighbours in a row)."""

    size: tuple[int, int]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    predictor: int


@dataclass(frozen=True)
class TiffHead:
    """A page of a TIFF, by its tags.

    Args:
        size: (H, W) of the rows and columns in the file.
        bands: samples a pixel.
        bits: of a sample, the most of all bands.
        kind: "unsigned", "signed", "float", "untyped" or "complex".
        meaning: of the colours: "grey", "RGB", "palette", "CMYK", "YCbCr", "Lab", or a number.
        white_is_zero: grey whose 0 is white.
        separate: each band in a plane of its own.
        compression: its number; 1 = none.
        extra: what ExtraSamples says of the bands beyond the colours: 0 nothing, 1 or 2 alpha.
        limits: least and largest value of a grey sample, where the file says so (or its samples have odd bits).
        turned: the orientation tag.
        pieces: strips or tiles that the pixels need, the entries of their table, and how many of these are empty.
        missing: bytes that strips or tiles lack: of what uncompressed pixels need, or of what the table promises.
        deflated: the pieces, where they are compressed by deflate, and of interleaved 8 bits or of 16-bit grey.
        pages: of one size, this one included; 1 where one of them was asked for.
        larger: (H, W) of another page that is larger; None: there is none.
        planes: it holds several pictures.
        nodata: it names a value of pixels that hold none, as GDAL writes it.
    """

    size: tuple[int, int]
    bands: int
    bits: int
    kind: str
    meaning: str
    white_is_zero: bool
    separate: bool
    compression: int
    extra: tuple[int, ...]
    limits: tuple[float, float] | None
    turned: int
    pieces: tuple[int, int, int]
    missing: int
    deflated: Pieces | None = None
    pages: int = 1
    larger: tuple[int, int] | None = None
    planes: bool = False
    nodata: bool = False

    @property
    def packed(self) -> bool:
        """Compressed, in whatever way."""
        return self.compression != 1

    @property
    def colours(self) -> int:
        """Bands that are colours."""
        return _COLOURS.get(self.meaning, self.bands)

    @property
    def alpha(self) -> bool:
        """Whether the band after the colours is said to be alpha."""
        return self.bands > self.colours and self.extra[:1] in ((1,), (2,))

    @property
    def uncommon(self) -> bool:
        """Whether the pixels are compressed in a way that Pillow may not decode, as WebP or JPEG 2000 in a TIFF."""
        return self.compression not in _COMMON

    @property
    def left_out(self) -> list[int]:
        """Numbers, from 1, of the bands that are neither colour nor alpha, such as near infrared."""
        return list(range(self.colours + self.alpha + 1, self.bands + 1))

    def __str__(self) -> str:
        bands = "1 band" if self.bands == 1 else f"{self.bands} bands{' in separate planes' if self.separate else ''}"
        kind = "" if self.kind == "unsigned" else f"{self.kind} "
        return f"a TIFF of {bands} of {self.bits} {kind}bits ({self.meaning})"

    def check(self) -> None:
        """Refuse what is decoded wrongly, or has no known range.

        Raises:
            CorruptImageError: says what the file holds and what is wanted; the caller adds its name.
        """
        needed, entries, empty = self.pieces
        if entries < needed or empty:
            missing = f"{entries - empty} of its {needed} strips or tiles" if entries else "none of its strips or tiles"
            raise CorruptImageError(f"image: expected a whole TIFF, got {missing}; write the file anew")
        if self.missing:
            raise CorruptImageError(
                f"image: expected a whole TIFF, got {self.missing} bytes fewer than its pixels need; write it anew"
            )
        if self.planes:
            raise CorruptImageError(
                "image: expected one picture, got a TIFF of several planes in one page, of which only the first is "
                "read; save the one that is meant, or the bands as one RGB image"
            )
        if self.pages > 1:
            raise CorruptImageError(
                f"image: expected one picture, got a TIFF of {self.pages} pages of one size, of which only the first "
                "is read; predict one by its number, from 0 (page=N, --page N), or save the one that is meant, or the "
                "bands as one RGB image"
            )
        if self.larger:
            raise CorruptImageError(
                f"image: expected one picture, got a TIFF whose first page is {self.size[0]}x{self.size[1]} (HxW), and "
                f"another one {self.larger[0]}x{self.larger[1]}, while only the first is read; predict one "
                "by its number, from 0 (page=N, --page N), or save the page that is meant as a file of its own"
            )
        if self.kind in ("complex", "untyped") or self.meaning not in _COLOURS:
            raise self._refusal("8 or 16 bits of grey, RGB or CMYK")
        extras = self.bands - self.colours
        most = {"RGB": 1 if self.bits > 8 else self.bands, "CMYK": int(self.bits <= 8), "grey": int(self.bits <= 8)}
        if not 0 <= extras <= most.get(self.meaning, 0) or (extras and self.meaning == "grey" and not self.extra):
            raise self._unfit("grey, RGB or CMYK", "save the three bands that the model knows as RGB")
        if self.kind != "unsigned" or self.bits > 16:
            fix = "scale the values to 0..255"
            if self.meaning != "grey" or self.bands > 1 or self.bits > 32:
                raise self._unfit("8 or 16 bits a channel", fix)
            if self.limits is None:
                said = "SMinSampleValue and SMaxSampleValue"
                raise self._unfit("8 or 16 bits a channel", f"{fix}, or say their range in {said}")
        if self.white_is_zero and (self.limits or self.kind != "unsigned"):
            raise self._refusal("grey whose 0 is black (photometric 1)", "invert the values")
        if self.bands > 1 and self.bits > 8 and self.limits and self.limits[1] <= _FULL // 2:
            raise self._unfit(
                f"colours that use their 16 bits, but the file says {_range(self.limits)}", "scale the values to 0..255"
            )
        self._check_planes()

    def _check_planes(self) -> None:
        if not self.separate:
            return
        if self.bands == 1:
            right = self.packed or (self.bits <= 8 and not self.white_is_zero)
        else:
            right = self.meaning in ("RGB", "CMYK") and (self.packed or self.bits == 8)
            right = right and (self.bands == self.colours or self.extra in ((2,), (0,), (0, 0)))
            right = (
                right
                and (self.packed or 0 not in self.extra)
                and not (self.alpha and self.bits > 8 and not self.packed)
            )
        if not right:
            raise CorruptImageError(
                f"image: expected a TIFF of interleaved channels, got separate planes of {self.bits} bits ({self}), "
                "which are not decoded right; save it with interleaved channels (planar configuration 1)"
            )

    def _refusal(self, expected: str, fix: str = "save it as an 8-bit RGB image") -> CorruptImageError:
        return CorruptImageError(f"image: expected {expected}, got {self}; {fix}")

    def _unfit(self, expected: str, fix: str) -> PixelsError:
        return PixelsError(
            f"image: expected {expected}, got {self}; {fix}, or declare the bands and values that the networks see "
            "(bands=, value_range=; --bands, --value-range; data.bands, data.value_range)"
        )


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g}..{limits[1]:g}"


def head_of(tags: Mapping[int, Any]) -> TiffHead:
    """The head that Pillow's tags describe; raises what a damaged one makes it raise."""
    bands = int(tags.get(_BANDS, 1))
    bits = max(_numbers(tags, _BITS, (1,)))
    kinds = {_TYPES.get(int(code), "untyped") for code in _numbers(tags, _FORMAT, (1,))}
    photometric = int(tags.get(_PHOTOMETRIC, 1))
    height, width = int(tags[_HEIGHT]), int(tags[_WIDTH])
    separate = int(tags.get(_PLANAR, 1)) == 2
    as_pillow_reads = not separate and (bits == 8 or (bits == 16 and bands == 1))  # samples that are not converted
    turned = int(tags.get(_ORIENTATION, 1))
    description = str(tags.get(_DESCRIPTION, ""))
    deep = int(tags.get(_DEPTH, 1)) > 1 or (description.startswith("ImageJ=") and "\nimages=" in description)
    return TiffHead(
        size=(height, width),
        bands=bands,
        bits=int(bits),
        kind=kinds.pop() if len(kinds) == 1 else "untyped",
        meaning=_MEANINGS.get(photometric, f"photometric {photometric}"),
        white_is_zero=photometric == _WHITE_IS_ZERO,
        separate=separate,
        compression=int(tags.get(_COMPRESSION, 1)),
        extra=tuple(int(v) for v in _numbers(tags, _EXTRA, ())),
        limits=_limits(tags, int(bits)),
        turned=turned if 1 <= turned <= 8 else 1,
        pieces=_pieces(tags, (height, width), bands if separate else 1),
        missing=_missing(tags, (height, width), bands, int(bits), separate),
        deflated=_deflated(tags, (height, width)) if as_pillow_reads else None,
        planes=deep,
        nodata=_NODATA in tags,
    )


def read_head(path: str | os.PathLike[str], page: int | None = None) -> TiffHead | None:
    """The head of a TIFF; None where the file is none, or where its head is damaged: its decoder says how.

    Args:
        page: the number of one that is there, from 0; None: the first, and of the others that there are.
    """
    with open(path, "rb") as file, quiet():
        prefix = file.read(8)
        if prefix[:4] not in TIFF_MAGIC:
            return None
        if prefix[2:4] in (b"+\0", b"\0+"):
            prefix += file.read(8)
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(prefix)
            first = tags.next
            file.seek(first)
            tags.load(file)
            for _ in range(page or 0):
                following = tags.next
                tags = TiffImagePlugin.ImageFileDirectory_v2(prefix)
                file.seek(following)
                tags.load(file)
            head = head_of(tags)
            head = replace(head, missing=head.missing + _beyond(tags, head, os.fstat(file.fileno()).st_size))
        except DAMAGE:
            return None
        if head.planes or page is not None:
            return head
        others = list(_other_pages(file, prefix, tags, first))
        larger = [(height, width) for height, width in others if height * width >= head.size[0] * head.size[1]]
        larger = [size for size in larger if size != head.size]  # also the same picture, turned
        return replace(head, pages=1 + others.count(head.size), larger=larger[0] if larger else None)


def _other_pages(file: BinaryIO, prefix: bytes, tags: Any, first: int) -> Iterator[tuple[int, int]]:
    """(H, W) of the pages after the first, and of those below it; not of those that say that they are a reduced copy
    or a mask. Ends at a damaged one: only the first is read."""
    seen = {0, first}
    try:
        ahead = [tags.next, *map(int, _numbers(tags, _SUB_PAGES, ()))]
        while ahead and len(seen) < _MOST_PAGES:
            position = ahead.pop(0)
            if position in seen:
                continue
            seen.add(position)
            page = TiffImagePlugin.ImageFileDirectory_v2(prefix)
            file.seek(position)
            page.load(file)
            ahead.append(page.next)
            if not int(page.get(_SUBFILE, 0)) & _REDUCED_OR_MASK:
                yield int(page[_HEIGHT]), int(page[_WIDTH])
    except DAMAGE:
        return


def mend_palette(image: Image.Image) -> None:
    """Where the entries of a TIFF's palette are of 8 bits instead of 16, a known slip, take them as they are meant.

    libtiff and libvips do so, too; Pillow makes all of them black. Ask before the image is loaded.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode == "P":
        entries = _numbers(image.tag_v2, _COLOUR_MAP, ())
        if entries and max(entries) < 256:
            image.palette = ImagePalette.raw("RGB;L", bytes(map(int, entries)))


def _numbers(tags: Mapping[int, Any], tag: int, default: tuple[int, ...]) -> tuple[float, ...]:
    value = tags.get(tag, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def _limits(tags: Mapping[int, Any], bits: int) -> tuple[float, float] | None:
    """The range of samples past 8 bits; the tags of floating values go first."""
    if bits <= 8:
        return None
    for low, high in ((_SMIN, _SMAX), (_MIN, _MAX)):
        if high in tags:
            least, most = min(_numbers(tags, low, (0,))), max(_numbers(tags, high, ()))
            if math.isfinite(least) and math.isfinite(most) and least < most:
                return float(least), float(most)
    return (0.0, float((1 << bits) - 1)) if bits < 16 else None


def _pieces(tags: Mapping[int, Any], size: tuple[int, int], planes: int) -> tuple[int, int, int]:
    tiled = _TILE_WIDTH in tags
    if tiled:
        needed = -(-size[0] // int(tags[_TILE_HEIGHT])) * -(-size[1] // int(tags[_TILE_WIDTH]))
    else:
        needed = -(-size[0] // min(int(tags.get(_ROWS_PER_STRIP, size[0])), size[0]))
    needed *= planes
    entries = len(_numbers(tags, _TILES if tiled else _STRIPS, ()))
    lengths = _numbers(tags, _TILE_BYTES if tiled else _STRIP_BYTES, ())[:needed]
    if entries == 0 and int(tags.get(_COMPRESSION, 1)) == _OLD_JPEG:
        return 0, 0, 0  # has its stream elsewhere
    return needed, entries, sum(length == 0 for length in lengths)


def _deflated(tags: Mapping[int, Any], size: tuple[int, int]) -> Pieces | None:
    if int(tags.get(_COMPRESSION, 1)) not in _DEFLATE:
        return None
    tiled = _TILE_WIDTH in tags
    height = int(tags[_TILE_HEIGHT] if tiled else tags.get(_ROWS_PER_STRIP, size[0]))
    offsets = _numbers(tags, _TILES if tiled else _STRIPS, ())
    lengths = _numbers(tags, _TILE_BYTES if tiled else _STRIP_BYTES, ())
    return Pieces(
        size=(height, int(tags[_TILE_WIDTH])) if tiled else (min(height, size[0]), size[1]),
        offsets=tuple(map(int, offsets)),
        lengths=tuple(map(int, lengths)),
        predictor=int(tags.get(_PREDICTOR, 1)),
    )


def _beyond(tags: Mapping[int, Any], head: TiffHead, end: int) -> int:
    """Bytes of the strips or tiles that lie beyond the end of the file, for which libvips gives zeros."""
    tiled = _TILE_WIDTH in tags
    if not (tiled or head.packed):
        return 0  # many writers count the last strip as if it were full
    offsets = _numbers(tags, _TILES if tiled else _STRIPS, ())[: head.pieces[0]]
    lengths = _numbers(tags, _TILE_BYTES if tiled else _STRIP_BYTES, ())
    return sum(max(int(offset + length) - end, 0) for offset, length in zip(offsets, lengths, strict=False))


def _missing(tags: Mapping[int, Any], size: tuple[int, int], bands: int, bits: int, separate: bool) -> int:
    tiled = _TILE_WIDTH in tags
    lengths = _numbers(tags, _TILE_BYTES if tiled else _STRIP_BYTES, ())
    if int(tags.get(_COMPRESSION, 1)) != 1 or int(tags.get(_PHOTOMETRIC, 1)) == _YCBCR or not lengths:
        return 0  # the colours of YCbCr may be stored at a lower resolution
    height, width = size
    planes, channels = (bands, 1) if separate else (1, bands)
    if tiled:
        tile_height, width = int(tags[_TILE_HEIGHT]), int(tags[_TILE_WIDTH])
        height = -(-height // tile_height) * -(-size[1] // width) * tile_height
    needed = planes * height * -(-width * channels * bits // 8)
    return max(needed - int(sum(lengths)), 0)
