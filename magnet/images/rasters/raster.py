"""What every raster can do, whatever it is stored in."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from magnet.bounds import Box as Box
from magnet.bounds import Size
from magnet.checks import check_size
from magnet.errors import shown
from magnet.images.rasters.levels import choose_level, level_factor
from magnet.images.rasters.resample import Taps, axis_taps, centres_of, resample

__all__ = ["Box", "Place", "Raster", "Resolution", "Sides", "Transform"]

Transform = tuple[float, float, float, float, float, float]

_SQUARE = 0.01  # how much longer than wide a square may be
_WINDOW_BYTES = 1 << 26  # of a level, resampled at a time


class Resolution(NamedTuple):
    """The side of a pixel of the finest level, in metres ("m") or micrometres ("um")."""

    value: float
    unit: str

    @property
    def sides(self) -> Sides:
        """Of a square pixel."""
        return Sides(self.value, self.value, self.unit)


class Sides(NamedTuple):
    """Height and width of a pixel of the finest level, in metres ("m") or micrometres ("um")."""

    height: float
    width: float
    unit: str

    @property
    def resolution(self) -> Resolution | None:
        """The geometric mean of both, where they are one length to a hundredth."""
        if max(self.height, self.width) > (1 + _SQUARE) * min(self.height, self.width):
            return None
        return Resolution(math.sqrt(self.height * self.width), self.unit)

    @property
    def sides(self) -> Sides:
        """Itself, as :attr:`Resolution.sides`."""
        return self


class Place(NamedTuple):
    """Where a raster lies.

    Attributes:
        crs: the coordinate reference system as WKT; None: the file names none.
        transform: (a, b, c, d, e, f): the pixel corner (x, y) lies at (a x + b y + c, d x + e y + f).
    """

    crs: str | None
    transform: Transform


class Raster(ABC):
    """Pixels of any number of channels and any type, in levels, read by window; made by ``magnet.open_raster``.

    Several threads may read one raster at once. It is a context manager: leaving it closes the file.

    Attributes:
        name: for messages.
        size: (H, W) of the finest level.
        channels: of a pixel; alpha and masks are not among them.
        dtype: of the pixels.
        levels: (H, W) of each level, the finest first.
        factors: pixels of the finest level that one of each level spans, along rows and columns.
        sides: of a pixel of the finest level; None: not known.
        place: where it lies; None: not known.
        nodata: the value of pixels that hold none; None: there is none.
        colours: what each channel is called, as "red", "nir" or "undefined".
        limits: the least and the largest value that the file says pixels have; None: it does not.
        page: the number of the page of a TIFF that was asked for; None: none was.
        has_palette: True where channels are the colours of a palette, whose entries' numbers are what is stored.
        tiles_read: how many tiles of each level were decoded; no entry: none, or it is not known.
    """

    may_be_invalid = True  # False: every pixel holds a value
    validity_level = 0  # where it is told which pixels hold values
    has_palette = False
    page: int | None = None

    def __init__(
        self,
        name: str,
        levels: tuple[Size, ...],
        channels: int,
        dtype: np.dtype,
        *,
        factors: tuple[tuple[float, float], ...] | None = None,
        sides: Sides | None = None,
        place: Place | None = None,
        nodata: float | None = None,
        colours: tuple[str, ...] | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        self.name = name
        self.levels = levels
        self.size = levels[0]
        self.channels = channels
        self.dtype = np.dtype(dtype)
        self.factors = factors or tuple(level_factor(levels[0], level) for level in levels)
        self.sides = sides
        self.place = place
        self.nodata = nodata
        self.colours = colours or ("undefined",) * channels
        self.limits = limits
        self.tiles_read: Counter[int] = Counter()
        self._closed = False

    @property
    def resolution(self) -> Resolution | None:
        """Of the finest level; None: not known, or pixels are not square."""
        return None if self.sides is None else self.sides.resolution

    def __repr__(self) -> str:
        sizes = ", ".join(f"{height}x{width}" for height, width in self.levels)
        return f"<Raster '{self.name}': {self.channels} channels of {self.dtype}, levels (HxW) {sizes}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading from it is an error from then on. May be called again."""
        self._closed = True
        self._close()

    def _close(self) -> None:  # noqa: B027
        """Let go of what the raster holds open, if anything."""

    @abstractmethod
    def _window(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`read_level`, its arguments checked."""

    def read_level(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """A window of a level, as stored.

        Args:
            level: its number, 0 the finest.
            box: (x0, y0, x1, y1) in pixels of that level, within it.

        Returns:
            (y1 - y0, x1 - x0, channels) of :attr:`dtype`; (y1 - y0, x1 - x0) bool, False where a pixel holds no value.

        Raises:
            ValueError: there is no such level, the box is empty or not within it, or the raster is closed.
            MagNetError: the file is damaged, or cannot be read.
        """
        self._check_open()
        if not 0 <= level < len(self.levels):
            raise ValueError(f"level: expected 0 to {len(self.levels) - 1}, got {shown(level)}; levels lists them")
        height, width = self.levels[level]
        x0, y0, x1, y1 = _four(box)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"box: expected (x0, y0, x1, y1) with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, "
                f"got {shown(box)}"
            )
        try:
            whole = (int(x0), int(y0), int(x1), int(y1))
        except (TypeError, ValueError):
            whole = (-1, -1, -1, -1)
        if whole != (x0, y0, x1, y1):
            raise ValueError(f"box: expected whole numbers of pixels of a level, got {shown(box)}; use read to resize")
        return self._window(level, whole)

    def read(self, box: tuple[float, float, float, float], size: Size) -> tuple[np.ndarray, np.ndarray]:
        """The part of the raster within ``box`` at ``size``: bilinear, antialiased when shrinking.

        It is made of the coarsest level that has at least ``size`` pixels there. Pixels without a value are left
        out: no nodata bleeds into what is beside it. The filter reaches beyond the box, so that parts are what a crop
        of the whole would be; where a pixel of the result spans a whole number of pixels they are so bit for bit.

        Args:
            box: (x0, y0, x1, y1) in pixels of the finest level, fractions allowed. It may reach beyond the raster;
                there pixels are invalid.
            size: (h, w) of the result.

        Returns:
            (h, w, channels) of :attr:`dtype`, whole numbers rounded, 0 where invalid; (h, w) bool, whether the pixel
            at the centre of each holds a value.

        Raises:
            ValueError: the box is empty or wholly beyond the raster, or the raster is closed.
            MagNetError: the file is damaged, or cannot be read.
        """
        self._check_open()
        size = check_size("size", size)
        x0, y0, x1, y1 = _four(box)
        height, width = self.size
        if not (x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
            raise ValueError(
                f"box: expected (x0, y0, x1, y1) with x0 < x1 and y0 < y1 that meets the raster of {height}x{width} "
                f"(HxW), got {shown(box)}"
            )
        pitch = (y1 - y0) / size[0], (x1 - x0) / size[1]
        level = choose_level(self.factors, pitch)
        ys, xs = centres_of(y0, y1, size[0]), centres_of(x0, x1, size[1])
        top, bottom = (int(v) for v in np.searchsorted(ys, (0, height)))
        left, right = (int(v) for v in np.searchsorted(xs, (0, width)))
        pixels = np.zeros((*size, self.channels), self.dtype)
        valid = np.zeros(size, bool)
        if top < bottom and left < right:
            rows = axis_taps(ys[top:bottom], pitch[0], self.factors[level][0], self.levels[level][0])
            columns = axis_taps(xs[left:right], pitch[1], self.factors[level][1], self.levels[level][1])
            self._fill(level, rows, columns, pixels[top:bottom, left:right], valid[top:bottom, left:right])
        return pixels, valid

    def _fill(self, level: int, rows: Taps, columns: Taps, pixels: np.ndarray, valid: np.ndarray) -> None:
        """Resample part by part, so that memory holds a bounded window of a level."""
        height, width = self.levels[level]
        window = (rows.stop(height) - rows.start) * (columns.stop(width) - columns.start)
        parts = math.ceil(window * self.channels * max(self.dtype.itemsize, 4) / _WINDOW_BYTES)
        step = [max(1, math.ceil(length / math.ceil(math.sqrt(parts)))) for length in valid.shape]
        for i in range(0, valid.shape[0], step[0]):
            for j in range(0, valid.shape[1], step[1]):
                some, others = rows.part(i, i + step[0]), columns.part(j, j + step[1])
                box = (others.start, some.start, others.stop(width), some.stop(height))
                made = resample(*self._window(level, box), some, others, (box[1], box[0]))
                pixels[i : i + step[0], j : j + step[1]], valid[i : i + step[0], j : j + step[1]] = made

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"raster: expected an open one, but '{self.name}' was closed; open it again")


def _four(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = box
        if all(math.isfinite(v) for v in (x0, y0, x1, y1)):
            return x0, y0, x1, y1
    except (TypeError, ValueError):
        pass
    raise ValueError(f"box: expected four finite numbers (x0, y0, x1, y1), got {shown(box)}")
