"""Image files decoded by libvips, past Pillow's size limit; see :mod:`magnet.images.large`."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.opening import failures
from magnet.images.read import (
    CorruptImageError,
    checked_head,
    flatten,
    full_range,
    high_bytes,
    scaled,
    tell_dark,
    tell_left_out,
    tell_outside,
    unreadable,
)

__all__ = ["LargeFile", "bilinear"]

_STRIP_PIXELS = 1 << 22  # decoded at a time: 12 MB of RGB
_FETCHING = threading.Lock()
_LOADERS = {  # by the first bytes; libvips is never left to choose, as some of its loaders hand files to other programs
    b"\x89PNG\r\n\x1a\n": "pngload_source",
    b"\xff\xd8\xff": "jpegload_source",
    b"II*\0": "tiffload_source",
    b"MM\0*": "tiffload_source",
    b"II+\0": "tiffload_source",
    b"MM\0+": "tiffload_source",
    b"RIFF": "webpload_source",
}
_TYPES = {
    "uchar": np.uint8,
    "char": np.int8,
    "ushort": np.uint16,
    "short": np.int16,
    "uint": np.uint32,
    "int": np.int32,
    "float": np.float32,
    "double": np.float64,
}
_JPEG_IN_TIFF = 7
_MODES = {
    "b-w": ("L", "LA"),
    "grey16": ("L", "LA"),
    "srgb": ("RGB", "RGBA"),
    "rgb16": ("RGB", "RGBA"),
    "cmyk": ("CMYK",),
}
_FLIPS = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}  # rows, columns


def _vips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the binding without the library
        reason = " ".join(str(error).split())
        raise MagNetError(
            f"image: more pixels than Pillow reads at once need libvips, which cannot be used ({reason}); "
            "pip install 'pyvips[binary]>=3'"
        ) from error
    return pyvips


class LargeFile:
    """A file decoded by libvips."""

    def __init__(self, path: str | os.PathLike[str], upright: bool = True) -> None:
        self._path = path
        self._head = checked_head(path)
        self._vips = _vips()
        self._random: Any = None
        self._damage = ""  # of a tile
        self._outside = False  # whether values outside of the stated range were told of
        with self._named_errors():
            with open(path, "rb") as file:
                start = file.read(8)
            self._loader = next((loader for magic, loader in _LOADERS.items() if start.startswith(magic)), "")
            if not self._loader:
                raise self._refusal("PNG, JPEG, TIFF or WebP, got a file of another format")
            if self._loader == "tiffload_source" and self._head is None:
                raise unreadable(path, "its head is damaged")
            header = self._open("sequential")
            fields = set(header.get_fields())
            turned = int(header.get("orientation")) if "orientation" in fields else 1
            self._bits = int(header.get("bits-per-sample")) if "bits-per-sample" in fields else 8
        self.turned = turned if turned in _FLIPS else 1
        self._orientation = self.turned if upright else 1
        self._height, self._width = header.height, header.width
        self._bands, self._format, self._kind = header.bands, header.format, header.interpretation
        head = self._head
        ranged = head is not None and head.limits is not None and head.bits in (16, 32, 64)
        if self._format not in (_TYPES if ranged else ("uchar", "ushort")) or self._kind not in _MODES:
            got = head or f"{self._format} ({self._kind})"
            raise self._refusal(f"8 or 16 bits of grey, RGB or CMYK, got {got}")
        if head is not None and head.meaning == "YCbCr" and head.compression != _JPEG_IN_TIFF:
            raise self._refusal(f"YCbCr only as JPEG, got {head} without")  # it would pass for RGB
        if head is not None:
            tell_left_out(head, path)

    @property
    def stored_size(self) -> Size:
        """(H, W) of the rows and columns in the file."""
        return self._height, self._width

    @property
    def size(self) -> Size:
        """(H, W), upright."""
        return (self._width, self._height) if self._orientation >= 5 else (self._height, self._width)

    def window(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """See :meth:`WindowedImage.read`."""
        return _turn(self._rgb(self._stored(box)), self._orientation)

    def opaque(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """See :meth:`WindowedImage.opaque`."""
        pixels = self._stored(box)
        colours = len(_MODES[self._kind][0])
        alpha = self._head.alpha if self._head is not None else self._bands > colours
        opaque = pixels[..., colours] > 0 if alpha else np.ones(pixels.shape[:2], bool)
        return _turn(opaque, self._orientation)

    def _stored(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of a window as they are stored, without being turned."""
        x0, y0, x1, y1 = box
        height, width = self.size
        rows, columns = _FLIPS[self._orientation]
        x0, x1 = (width - x1, width - x0) if columns else (x0, x1)
        y0, y1 = (height - y1, height - y0) if rows else (y0, y1)
        if self._orientation >= 5:
            x0, y0, x1, y1 = y0, x0, y1, x1
        with self._named_errors():
            if self._random is None:
                self._random = self._open("random")
            # a region of its own, as each belongs to one thread
            return self._fetch(self._vips.Region.new(self._random), x0, y0, x1 - x0, y1 - y0)

    def resized(self, size: Size) -> np.ndarray:
        """See :meth:`WindowedImage.resized`. As Pillow's resize of the whole, to a grey level."""
        height, width = (size[1], size[0]) if self._orientation >= 5 else size
        result = np.empty((height, width, 3), np.uint8)
        step = self._height / height
        reach = max(step, 1.0)  # of the filter, to both sides of a pixel's centre
        rows = np.empty((0, width, 3), np.uint8)  # of the file, resized to the right width, not yet used up
        first = done = 0  # the first of them, the rows of the result that are made
        counts = np.zeros(256, np.int64)
        for top, pixels in self._strips():
            counts += self._high_bytes(pixels)
            rows = np.concatenate([rows, bilinear(self._rgb(pixels), (pixels.shape[0], width))])
            end = top + pixels.shape[0]
            # result rows whose filter reaches no further than the rows read
            ready = height if end == self._height else max(int((end - reach - 1) / step), done)
            if ready == done:
                continue
            box = (0.0, done * step - first, float(width), ready * step - first)
            part = Image.fromarray(rows).resize((width, ready - done), Image.Resampling.BILINEAR, box=box)
            result[done:ready] = np.asarray(part)
            done = ready
            needed = max(int(done * step - reach) - 1, first)
            rows, first = rows[needed - first :], needed
        tell_dark(self._path, counts)
        return _turn(result, self._orientation)

    def nearest(self, size: Size) -> np.ndarray:
        """See :func:`read_nearest`."""
        if self._format != "uchar" or self._kind not in ("b-w", "srgb"):
            raise self._refusal(f"labels of 8 bits, grey or RGB, got {self._format} ({self._kind})")
        ys = ((np.arange(size[0]) + 0.5) * self._height / size[0]).astype(np.int64)
        xs = ((np.arange(size[1]) + 0.5) * self._width / size[1]).astype(np.int64)
        parts = []
        for top, pixels in self._strips():
            inside = ys[(ys >= top) & (ys < top + pixels.shape[0])]
            parts.append(pixels[inside - top][:, xs])
        values = np.concatenate(parts)
        if self._kind == "srgb":
            return np.ascontiguousarray(values[..., :3])
        return values[..., 0] // 255 if self._bits == 1 else np.ascontiguousarray(values[..., 0])

    def _strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, (h, W, bands) pixels as stored), from the top."""
        count = max(_STRIP_PIXELS // self._width, 1)
        with self._named_errors():
            region = self._vips.Region.new(self._open("sequential"))
        for top in range(0, self._height, count):
            with self._named_errors():
                pixels = self._fetch(region, 0, top, self._width, min(count, self._height - top))
            yield top, pixels

    def _open(self, access: str) -> Any:
        # a source, not a file name, so that nothing in the name is taken for options and nothing is cached
        # libjpeg only warns of pixels that are not there
        fail_on = "warning" if self._loader == "jpegload_source" else "error"
        source = self._vips.Source.new_from_file(os.fsencode(self._path))
        return getattr(self._vips.Image, self._loader)(source, access=access, fail_on=fail_on)

    def _fetch(self, region: Any, x: int, y: int, width: int, height: int) -> np.ndarray:
        kind = _TYPES[self._format]
        if self._loader != "tiffload_source":
            return np.frombuffer(region.fetch(x, y, width, height), kind).reshape(height, width, self._bands)
        # of a tile that cannot be decoded libvips makes a black one, and keeps the reason for who asks; all threads
        # share the place where it does, so one at a time
        with _FETCHING:
            self._vips.Error("")  # to make one takes the reason, and clears the place
            pixels = region.fetch(x, y, width, height)
            self._damage = self._damage or self._vips.Error("").detail
        if self._damage:
            raise unreadable(self._path, self._damage)
        return np.frombuffer(pixels, kind).reshape(height, width, self._bands)

    @property
    def _limits(self) -> tuple[float, float] | None:
        return self._head.limits if self._head and self._bands == 1 else None

    def _high_bytes(self, pixels: np.ndarray) -> np.ndarray:
        """How often each is there, (256,), in 16-bit pixels without a range of their own; of others none."""
        if pixels.dtype != np.uint16 or self._limits is not None:
            return np.zeros(256, np.int64)
        return high_bytes(pixels[..., : len(_MODES[self._kind][0])] >> 8)

    def _rgb(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels as stored -> (h, w, 3) uint8 RGB, by the rules of ``magnet.images.read``."""
        if pixels.shape[2] == 3 and pixels.dtype == np.uint8:
            return pixels
        modes = _MODES[self._kind]
        colours = len(modes[0])  # "L", "RGB" and "CMYK" name one channel a letter
        if self._head is not None:
            pixels = pixels[..., : self._head.colours + self._head.alpha]
        if self._limits is not None:
            self._outside = self._outside or tell_outside(self._path, pixels, self._limits)
            pixels = scaled(pixels, self._limits)
        elif pixels.dtype == np.uint16:
            pixels = full_range(pixels) if pixels.shape[2] == 1 else (pixels >> 8).astype(np.uint8)
        mode = modes[pixels.shape[2] - colours]
        data = np.ascontiguousarray(pixels)
        return flatten(Image.frombuffer(mode, (data.shape[1], data.shape[0]), data.tobytes(), "raw", mode, 0, 1))

    def _refusal(self, expected_and_got: str) -> CorruptImageError:
        return CorruptImageError(
            f"image: '{self._path}' has more pixels than Pillow reads at once; there we expected {expected_and_got}; "
            "convert it, or cut it into tiles"
        )

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        with failures(self._path):
            try:
                yield
            except self._vips.Error as error:
                raise unreadable(self._path, error.detail or error) from error


def bilinear(pixels: np.ndarray, size: Size) -> np.ndarray:
    """(H, W, 3) uint8 at ``size``, antialiased when shrinking."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An image as stored -> upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = _FLIPS[orientation]
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])
