"""Which pixels polygons hold, by window, however many corners they have.

GDAL asks every side of a polygon for each row, so that the outline of a noisy result, all of whose holes are one
polygon's, takes hours where this takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magnet.bounds import Box

__all__ = ["PolygonFill"]

_RUN = 256  # sides of a ring, one after the other and so near each other, that are looked for together
_MOST = 1 << 22  # pixels, and crossings of sides and rows, at a time


class PolygonFill:
    """Polygons of which each holds the pixels whose centres lie in an odd number of its rings.

    Centres on an upper or a right side are in the polygon, on a lower or a left one they are not: of polygons side by
    side, each centre is in one.

    Args:
        corners: (n, 2) x and y in pixels, ring after ring; each ring ends where it begins.
        rings: the number of corners of each.
        polygons: the number of rings of each, at least one.
    """

    def __init__(self, corners: np.ndarray, rings: Sequence[int], polygons: Sequence[int]) -> None:
        self._x, self._y = (np.ascontiguousarray(one) for one in corners.T)
        lengths = np.array(rings)
        ends = np.cumsum(lengths)
        if lengths.max() <= _RUN:  # as of most polygons, of which there may be very many
            ring = np.arange(len(lengths))
            self._starts, self._stops = ends - lengths, ends - 1
        else:
            runs = -(-(lengths - 1) // _RUN)
            ring = np.repeat(np.arange(len(lengths)), runs)
            first = (ends - lengths)[ring]
            self._starts = first + _RUN * _ranges(np.zeros_like(runs), runs)
            self._stops = np.minimum(self._starts + _RUN, ends[ring] - 1)  # sides, each from a corner to the next one
        self._top = np.minimum(np.minimum.reduceat(self._y, self._starts), self._y[self._stops])
        self._bottom = np.maximum(np.maximum.reduceat(self._y, self._starts), self._y[self._stops])
        counts = np.array(polygons)
        self._owner = np.repeat(np.arange(len(counts)), counts)[ring]
        begins = (ends - lengths)[np.cumsum(counts) - counts]
        self._left = np.minimum.reduceat(self._x, begins)[self._owner]
        self._right = np.maximum.reduceat(self._x, begins)[self._owner]

    def read(self, box: Box) -> np.ndarray:
        """(y1 - y0, x1 - x0) bool: the pixels of ``box`` (x0, y0, x1, y1) that a polygon holds."""
        x0, y0, x1, y1 = box
        near = np.flatnonzero((self._left < x1) & (self._right > x0) & (self._top < y1) & (self._bottom > y0))
        starts, stops = self._starts[near], self._stops[near]
        side = _ranges(starts, stops)
        # rows whose centres are crossed
        low, high = np.minimum(self._y[side], self._y[side + 1]), np.maximum(self._y[side], self._y[side + 1])
        first, stop = (np.clip(np.ceil(one - 0.5), y0, y1).astype(np.int64) for one in (low, high))
        crossings = int((stop - first).sum())
        if not crossings:
            return np.zeros((y1 - y0, x1 - x0), bool)
        if y1 - y0 > 1 and max(crossings, (y1 - y0) * (x1 - x0 + 1)) > _MOST:
            y = (y0 + y1) // 2
            return np.concatenate([self.read((x0, y0, x1, y)), self.read((x0, y, x1, y1))])
        row, of = _ranges(first, stop), np.repeat(np.arange(len(side)), stop - first)
        column = np.clip(np.floor(self._crossed(side[of], row) + 0.5), x0, x1).astype(np.int64) - x0
        shape = y1 - y0, x1 - x0 + 1
        cells = shape[0] * shape[1]
        owner = np.repeat(self._owner[near], stops - starts)[of]
        # in each row of each polygon, every second crossing leaves it
        places = np.sort(owner * cells + (row - y0) * shape[1] + column) % cells
        inside = np.bincount(places[::2], minlength=cells)
        inside -= np.bincount(places[1::2], minlength=cells)
        held: np.ndarray = np.cumsum(inside.reshape(shape), axis=1)[:, :-1] > 0
        return held

    def _crossed(self, side: np.ndarray, row: np.ndarray) -> np.ndarray:
        """x where sides cross the centres of rows; from the upper corner, so that neighbours agree on it."""
        upper = side + (self._y[side] > self._y[side + 1])
        lower = 2 * side + 1 - upper
        slope = (self._x[lower] - self._x[upper]) / (self._y[lower] - self._y[upper])
        return (row + 0.5 - self._y[upper]) * slope + self._x[upper]  # type: ignore[no-any-return]


def _ranges(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The numbers from each start up to its stop, one range after the other."""
    lengths = stops - starts
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
