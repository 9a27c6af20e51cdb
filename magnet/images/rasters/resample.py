"""Antialiased bilinear resampling whose results depend on positions alone.

A pixel of the result is the same, bit for bit, whatever else is read with it: its taps lie at fixed places of the
level, their weights follow from its centre, and sums are taken tap by tap. Pillow's and torch's filters are the same
function, but take positions within the window that they are given, and know no invalid pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Taps", "axis_taps", "centres_of", "resample"]

_SMALL = (np.uint8, np.int8, np.uint16, np.int16, np.bool_)  # float32 sums round to the right whole number
_NEAR = 1 << 18  # bytes that stay in the processor's cache
_NOISE: dict[type[np.floating[Any]], float] = {
    np.float32: 1e-6,
    np.float64: 1e-12,
}  # of sums of weights that add up to 1


class Taps(NamedTuple):
    """Which pixels of a level make each pixel of the result, along one axis.

    Attributes:
        first: (n,) int64, the first tap of each, which may lie before the level.
        weights: (n, taps) float64; their sums are 1, and 0 outside of the level.
        nearest: (n,) int64, the pixel that holds the centre.
    """

    first: np.ndarray
    weights: np.ndarray
    nearest: np.ndarray

    @property
    def start(self) -> int:
        """The first pixel that is needed, and with :attr:`stop` the last one."""
        return max(int(self.first.min()), 0)

    def stop(self, length: int) -> int:
        return min(int(self.first.max()) + self.weights.shape[1], length)

    def part(self, begin: int, end: int) -> Taps:
        return Taps(self.first[begin:end], self.weights[begin:end], self.nearest[begin:end])


def centres_of(begin: float, end: float, count: int) -> np.ndarray:
    """(count,) centres of the equal parts of an interval."""
    # with whole numbers of pixels a part these are exact, so that two boxes give one pixel the same centre
    return begin + (np.arange(count) + 0.5) * ((end - begin) / count)


def axis_taps(centres: np.ndarray, pitch: float, factor: float, length: int) -> Taps:
    """The taps of an axis.

    Args:
        centres: of the result's pixels, in pixels of the finest level.
        pitch: from one centre to the next.
        factor: pixels of the finest level that a pixel of this level spans.
        length: pixels of this level.
    """
    scale = max(pitch / factor, 1.0)
    middle = np.minimum(centres / factor, length)  # a level rounded down ends before the finest one does
    first = np.floor(middle - scale + 0.5).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * scale)) + 1)
    weights = np.maximum(1 - np.abs(taps + 0.5 - middle[:, None]) / scale, 0.0)
    weights[(taps < 0) | (taps >= length)] = 0
    used = np.flatnonzero(weights.any(axis=0))
    first, weights = first + used[0], weights[:, used[0] : used[-1] + 1]
    total = np.zeros(len(first))
    for k in range(weights.shape[1]):  # in this order wherever the result is cut; numpy's sum depends on the count
        total += weights[:, k]
    nearest = np.minimum(np.floor(middle).astype(np.int64), length - 1)
    return Taps(first, weights / total[:, None], nearest)


def resample(
    pixels: np.ndarray, valid: np.ndarray, rows: Taps, columns: Taps, origin: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels at the centres of ``rows`` and ``columns``.

    Args:
        pixels: (h, w, channels) of a level.
        valid: (h, w) bool: pixels that are not are left out of every sum.
        origin: (y, x) of the first of these pixels in the level.

    Returns:
        (n, m, channels) of the type of ``pixels``, whole numbers rounded to the nearest and 0 where invalid;
        (n, m) bool, whether the pixel that holds the centre is valid.
    """
    centre = valid[np.ix_(rows.nearest - origin[0], columns.nearest - origin[1])]
    if rows.weights.shape[1] == 1 and columns.weights.shape[1] == 1:  # nothing to mix: a copy, of 64-bit integers too
        picked = pixels[np.ix_(rows.first - origin[0], columns.first - origin[1])]
    else:
        kind: type[np.floating[Any]] = np.float32 if pixels.dtype.type in _SMALL else np.float64
        if valid.all():
            mixed = _along_both(pixels, rows, columns, origin, kind)
        else:
            values = pixels.copy()
            values[~valid] = 0  # NaN times 0 is NaN
            mixed = _along_both(values, rows, columns, origin, kind)
            share = _along_both(valid[..., None], rows, columns, origin, kind)
            # where all taps are valid nothing is divided, as where no pixel of the window is invalid
            share[(share > 1 - _NOISE[kind]) | ~centre[..., None]] = 1
            mixed /= share
        if pixels.dtype.kind in "iu":
            limits = np.iinfo(pixels.dtype)
            np.rint(mixed, out=mixed)
            # the largest 64-bit integers are no floats: the next one below is
            most = limits.max if pixels.dtype.itemsize < 8 else np.nextafter(kind(limits.max), kind(0))
            np.clip(mixed, limits.min, most, out=mixed)
        picked = mixed.astype(pixels.dtype)
    if not centre.all():
        picked[~centre] = 0
    return picked, centre


def _along_rows(values: np.ndarray, taps: Taps, origin: int, kind: type[np.floating[Any]]) -> np.ndarray:
    """(h, w, c) -> (n, w, c) of ``kind``, tap by tap; taps outside of the window have no weight."""
    flat = values.reshape(len(values), -1)
    weights = taps.weights.astype(kind)
    result = np.zeros((len(weights), flat.shape[1]), kind)
    step = max(1, _NEAR // (flat.shape[1] * result.itemsize))
    for i in range(0, len(weights), step):
        total = result[i : i + step]
        part = np.empty_like(total)
        for k in range(weights.shape[1]):
            rows = np.clip(taps.first[i : i + step] + (k - origin), 0, len(values) - 1)
            np.multiply(flat[rows], weights[i : i + step, k, None], out=part, dtype=kind)
            total += part
    return result.reshape(-1, *values.shape[1:])


def _along_both(
    values: np.ndarray, rows: Taps, columns: Taps, origin: tuple[int, int], kind: type[np.floating[Any]]
) -> np.ndarray:
    turned = np.ascontiguousarray(_along_rows(values, rows, origin[0], kind).swapaxes(0, 1))
    return np.ascontiguousarray(_along_rows(turned, columns, origin[1], kind).swapaxes(0, 1))
