"""Which bands a network sees, and which of their values are 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from magnet.bounds import MAX_CHANNELS
from magnet.checks import as_number, check_count, is_int, is_list
from magnet.errors import MagNetError, shown
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import row_boxes
from magnet.images.tensors import to_tensor
from magnet.notices import tell

__all__ = ["PERCENTILES", "BandsError", "Channels", "Pair", "ToTensor", "coarsest_values"]

_SAMPLE = 1 << 22  # pixels of the coarsest level that are looked at
_WINDOWS = 16  # along each side of one that is larger
PERCENTILES = (2, 98)
_RGB = ("red", "green", "blue")
_RANGES = "two numbers (low, high), such a pair for each band, 'dtype' or 'percentile'"

Pair = tuple[float, float]


class BandsError(MagNetError):
    """A raster of other bands or values than a network sees; the message says which it has, and how to choose."""


@dataclass(frozen=True)
class ToTensor:
    """Pixels of one raster as a network takes them; made by :meth:`Channels.of`.

    Attributes:
        index: channels of the raster, from 0, in the order of the network's.
        ranges: the values of each that become 0 and 1; None: they are bytes, divided by 255.
        stated: of which file the ranges are, as it says; None: they are not its own.
    """

    index: tuple[int, ...]
    ranges: tuple[Pair, ...] | None
    stated: str | None = None

    def __call__(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> Tensor:
        """Pixels of the raster as a network's input: :meth:`seen`, as (channels of the network, h, w) float32."""
        return to_tensor(self.seen(pixels, valid))

    def seen(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Pixels of the raster as a network sees them.

        Args:
            pixels: (h, w, channels) of the raster.
            valid: (h, w) bool, False where there is no value: 0 in all channels, as NaN is. None: all are valid.

        Returns:
            (h, w, channels of the network): float32 in [0, 1], or the bytes where these are what is seen.
        """
        chosen = pixels if self.index == tuple(range(pixels.shape[-1])) else pixels[..., self.index]
        if valid is not None and not valid.all():
            chosen = chosen.copy()
            chosen[~valid] = 0
        if self.ranges is None:
            return chosen
        low = np.array([one[0] for one in self.ranges], np.float64)
        high = np.array([one[1] for one in self.ranges], np.float64)
        outside = (chosen < low) | (chosen > high) if self.stated is not None else np.zeros(1, bool)
        if self.stated is not None and bool((outside if valid is None else outside[valid]).any()):
            tell(
                "hold values outside of the range that they state",
                self.stated,
                f"states values from {low.min():g} to {high.max():g}, but holds others, which come out black or white",
                "give the range that they have (value_range)",
            )
        share = (chosen.astype(np.float64) - low) / (high - low)
        share = np.clip(np.nan_to_num(share, nan=0.0), 0, 1).astype(np.float32)
        if valid is not None:
            share[~valid] = 0
        return share


@dataclass(frozen=True)
class Channels:
    """How rasters become what a network sees.

    Args:
        bands: numbers of the bands, from 1, in the order of the network's channels; one may be given for three. None:
            all there are, where they are as many; one grey band for three; of more those called red, green and blue.
        value_range: the values that become 0 and 1: (low, high), such a pair for each band, "dtype" (the whole
            range of the type), or "percentile" (2% and 98% of the values of each band, at the coarsest level). None:
            bytes are divided by 255, and other types take the range that the file states, or are refused.

    Raises:
        ValueError, TypeError: these are no such values.
    """

    bands: tuple[int, ...] | None = None
    value_range: str | Pair | tuple[Pair, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", _checked_bands(self.bands))
        object.__setattr__(self, "value_range", _checked_range(self.value_range))

    def of(self, raster: Raster, wanted: int = 3) -> ToTensor:
        """The conversion of a raster's pixels for a network of ``wanted`` channels, 1 to 16.

        Raises:
            BandsError: it is not known which bands are meant, there is no such band, or the range of values is not
                known. The message says which bands and values there are.
        """
        if check_count("wanted", wanted) > MAX_CHANNELS:
            raise ValueError(f"wanted: expected 1 to {MAX_CHANNELS} channels, got {wanted}; choose fewer bands")
        index = self.index(raster, wanted)
        ranges, stated = self._ranges(raster, index)
        if len(index) < wanted:  # grey for three channels
            index, ranges = index * wanted, None if ranges is None else ranges * wanted
        return ToTensor(index, ranges, raster.name if stated else None)

    def index(self, raster: Raster, wanted: int = 3) -> tuple[int, ...]:
        """Channels of a raster, from 0, that a network of ``wanted`` channels sees; one where three see the same grey.

        Raises:
            BandsError: as :meth:`of`.
        """
        count = raster.channels
        if self.bands is not None:
            if len(self.bands) != wanted and not (len(self.bands) == 1 and wanted == 3):
                raise BandsError(
                    f"bands: expected {wanted}, as many as the network has channels, got {len(self.bands)}: "
                    f"{shown(self.bands)}; give {wanted} of {_listed(raster)}"
                )
            if max(self.bands) > count:
                raise BandsError(
                    f"bands: expected numbers from 1 to {count}, got {shown(self.bands)}; '{raster.name}' has "
                    f"{_listed(raster)}"
                )
            return tuple(band - 1 for band in self.bands)
        if wanted == 3 and all(raster.colours.count(name) == 1 for name in _RGB):
            return tuple(raster.colours.index(name) for name in _RGB)
        if count == wanted:
            return tuple(range(count))
        if count == 1 and wanted == 3:
            return (0,)
        if count < wanted and wanted != 3:  # one band may be given in several places, as grey is for three
            raise BandsError(
                f"bands: expected {wanted}, as many as the network has channels, but '{raster.name}' has only "
                f"{_listed(raster)}; choose another file, or a model of {count} channel{'s' if count > 1 else ''}"
            )
        example = tuple(min(i + 1, count) for i in range(wanted))
        raise BandsError(
            f"bands: expected to be told which {wanted} of {_listed(raster)} the network sees, as those of "
            f"'{raster.name}' do not say it; give their numbers, as bands={example} (--bands)"
        )

    def _ranges(self, raster: Raster, index: Sequence[int]) -> tuple[tuple[Pair, ...] | None, bool]:
        """Low and high of each band of ``index``, and whether it is the file that says so."""
        given = self.value_range
        if isinstance(given, tuple):
            _check_reach(given, raster)
            if not isinstance(given[0], tuple):
                return (given,) * len(index), False  # type: ignore[return-value]
            if len(given) != len(index):
                raise BandsError(
                    f"value_range: expected one pair, or {len(index)}, one for each band, got {len(given)}; "
                    f"give {_RANGES}"
                )
            return given, False  # type: ignore[return-value]
        if given == "dtype":
            if raster.dtype.kind == "f":
                raise BandsError(
                    f"value_range: expected numbers, as '{raster.name}' has {raster.dtype} pixels, of which 'dtype' "
                    "is no range; give (low, high) or 'percentile'"
                )
            limits = np.iinfo(raster.dtype)
            return ((float(limits.min), float(limits.max)),) * len(index), False
        if given is None and raster.limits is not None:
            return (raster.limits,) * len(index), True
        if given is None and raster.dtype == np.uint8:
            return None, False
        if given == "percentile":
            return _percentiles(raster, index), False
        values = coarsest_values(raster, index)
        span = f"{values.min():g} to {values.max():g}" if len(values) else "none"
        raise BandsError(
            f"value_range: expected to be told which values are black and white, as '{raster.name}' has {raster.dtype} "
            f"pixels, whose values at its coarsest level are {span}; give value_range=(low, high), 'dtype' or "
            "'percentile' (--value-range)"
        )


def _percentiles(raster: Raster, index: Sequence[int]) -> tuple[Pair, ...]:
    """2% and 98% of each channel of ``index``. A raster without a value needs no range: none of it is seen."""
    values = coarsest_values(raster, index)
    if not len(values):  # what few pixels hold may be lost in a coarse level, or lie between windows
        values = _first_values(raster, index)
    if not len(values):
        tell(
            "hold no value at all, so that there is nothing to see in them",
            raster.name,
            "holds no value (nodata, alpha 0, NaN) in any of its pixels, so that there is nothing to see in it",
            "if it was meant to hold some, mend its nodata or its mask",
        )
        return ((0.0, 1.0),) * len(index)
    low, high = np.percentile(values.astype(np.float64), PERCENTILES, axis=0)
    # a band of one value throughout is black
    high = np.where(high > low, high, np.maximum(low + 1, np.nextafter(low, np.inf)))
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))


def _first_values(raster: Raster, index: Sequence[int]) -> np.ndarray:
    """(n, len(index)) values of the finest level from its top on, at least a sample of them where there are as many."""
    parts, count = [np.empty((0, len(index)), raster.dtype)], 0
    for box in row_boxes(raster):
        pixels, valid = raster.read_level(0, box)
        parts.append(pixels[valid][:, list(index)])
        count += len(parts[-1])
        if count >= _SAMPLE:
            break
    return np.concatenate(parts)


def _checked_bands(bands: Any) -> tuple[int, ...] | None:
    if bands is None:
        return None
    numbers: list[Any] = [as_number(one) for one in bands] if is_list(bands) else [None]
    if not 1 <= len(numbers) <= MAX_CHANNELS or not all(is_int(one) and one >= 1 for one in numbers):
        raise ValueError(
            f"bands: expected 1 to {MAX_CHANNELS} numbers of bands, from 1, got {shown(bands)}; give them as (3, 2, 1)"
        )
    return tuple(numbers)


def _checked_range(given: Any) -> Any:
    if given is None or (isinstance(given, str) and given in ("dtype", "percentile")):
        return given
    if is_list(given) and len(given):
        if len(given) == 2 and not any(is_list(one) for one in given):
            return _pair(given)
        if len(given) <= MAX_CHANNELS and all(is_list(one) and len(one) == 2 for one in given):
            return tuple(_pair(one) for one in given)
    raise ValueError(f"value_range: expected {_RANGES}, got {shown(given)}; give one of these")


def _pair(values: Sequence[Any]) -> Pair:
    low, high = (as_number(one) for one in values)
    for one in (low, high):
        if isinstance(one, bool) or not isinstance(one, int | float) or not np.isfinite(one):
            raise ValueError(f"value_range: expected finite numbers, got {shown(one)}; give {_RANGES}")
    if not low < high:
        raise ValueError(f"value_range: expected low < high, got {shown((low, high))}; give {_RANGES}")
    return float(low), float(high)


def _check_reach(given: Sequence[Any], raster: Raster) -> None:
    """Refuse a range that is of another kind of files: the type of this one's pixels does not reach a sixth of it."""
    if raster.dtype.kind == "f":
        return
    most = float(np.iinfo(raster.dtype).max)
    for low, high in given if isinstance(given[0], tuple) else [given]:
        if most < low + (high - low) / 6:
            raise BandsError(
                f"value_range: expected pixels of up to {high:g}, but '{raster.name}' has {raster.dtype} pixels, of at "
                f"most {most:g}, which would be nearly black; leave the file out, or give the range that it has"
            )


def _listed(raster: Raster) -> str:
    """The bands of a raster in words."""
    names = ", ".join(f"{i + 1} {name}" for i, name in enumerate(raster.colours[:MAX_CHANNELS]))
    more = f" and {raster.channels - MAX_CHANNELS} more" if raster.channels > MAX_CHANNELS else ""
    return f"the {raster.channels} bands {names}{more}" if raster.channels > 1 else f"the one band {names}"


def coarsest_values(
    raster: Raster, index: Sequence[int], *, most: int = _SAMPLE, windows: int = _WINDOWS
) -> np.ndarray:
    """(n, len(index)) values of the channels ``index`` at the coarsest level, where they are valid.

    Of a coarsest level that is larger than ``most`` pixels, as many are read in evenly spread windows, ``windows``
    along each side.
    """
    level = len(raster.levels) - 1
    height, width = raster.levels[level]
    per_side = 1 if height * width <= most else windows
    side = int((most / per_side**2) ** 0.5)
    parts = []
    for y0, y1 in _spread(height, side, per_side):
        for x0, x1 in _spread(width, side, per_side):
            pixels, valid = raster.read_level(level, (x0, y0, x1, y1))
            parts.append(pixels[valid][:, list(index)])
    return np.concatenate(parts)


def _spread(length: int, side: int, count: int) -> list[tuple[int, int]]:
    """``count`` intervals of ``side``, evenly over ``length``; the whole where they would cover it."""
    if count == 1 or side * count >= length:
        return [(0, length)]
    return [((length - side) * i // (count - 1), (length - side) * i // (count - 1) + side) for i in range(count)]
