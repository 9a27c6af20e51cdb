"""The objects of a raster of labels (4-connected pixels of one class), found strip by strip from the top.

An object is described by the corners of its outline, as the lines between them are known from these: in each row and in
each column of corners, the first is joined to the second, the third to the fourth. So nothing has to be united where
an object crosses from one strip into the next, and only corners of objects that still go on are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from magnet.images.label_files.blocks import NO_ANSWER
from magnet.images.label_files.connected import components, followed

__all__ = ["Corners", "Finished", "Objects"]

_FLUSH = 1 << 18  # corners and parts of objects, at least, before what has ended is looked for


@dataclass
class Corners:
    """Corners of outlines; arrays of one length.

    Attributes:
        owner: int64, the object.
        y, x: int32, the corner of the pixels; 0..H and 0..W.
        right, down: bool, where the two lines that meet there go: right or left, down or up.
    """

    owner: np.ndarray
    y: np.ndarray
    x: np.ndarray
    right: np.ndarray
    down: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    def at(self, index: np.ndarray) -> Corners:
        """Those at ``index``, or where it is True."""
        return Corners(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass
class _Parts:
    """What each object has in a strip: arrays of one length."""

    owner: np.ndarray
    classes: np.ndarray
    pixels: np.ndarray
    confidence: np.ndarray  # summed


@dataclass
class Finished:
    """Objects that end above the strip read last, by the row where they end, then by their first pixel.

    Attributes:
        classes: (n,) uint8.
        pixels: (n,) int64.
        confidence: (n,) int64, the sum over the pixels, 255 for 1.
        corners: their owners are 0..n-1.
    """

    classes: np.ndarray
    pixels: np.ndarray
    confidence: np.ndarray
    corners: Corners


class Objects:
    """Takes strips of whole rows from the top, and gives the objects that have ended.

    The order of objects, and all about them, do not depend on how the raster was cut into strips.

    Args:
        width: of the raster.
    """

    def __init__(self, width: int) -> None:
        self._width, self._y = width, 0
        self._last = np.full(width, NO_ANSWER, np.uint8)  # the row read last
        self._open = np.empty(0, np.int64)  # the object of each of its runs
        self._parts: list[_Parts] = []
        self._corners: list[Corners] = []
        self._joined: list[tuple[np.ndarray, np.ndarray]] = []  # objects found to be part of another one
        self._next = self._new = self._kept = 0

    def add(self, labels: np.ndarray, confidence: np.ndarray | None = None) -> Finished | None:
        """Read the next (h, W) uint8 ``labels`` and their confidence.

        Returns:
            what has ended; None where that is not worth looking for yet.
        """
        self._read(labels, confidence)
        return self._flush() if self._new > max(_FLUSH, self._kept) else None

    def end(self) -> Finished:
        """All that is left, after the last strip."""
        self._read(np.full((1, self._width), NO_ANSWER, np.uint8), None)
        return self._flush()

    def _read(self, labels: np.ndarray, confidence: np.ndarray | None) -> None:
        height, wide = labels.shape[0], self._width + 2
        # with the row above, and no answer at both sides: there runs of pixels end
        grid = np.full((height + 1, wide), NO_ANSWER, np.uint8)
        grid[0, 1:-1], grid[1:, 1:-1] = self._last, labels
        flat = grid.ravel()
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        starts, ends = changes, np.append(changes[1:], flat.size)
        answered = flat[starts] != NO_ANSWER
        starts, ends = starts[answered], ends[answered]
        above = len(self._open)  # runs of the row above come first

        across, along = grid[:, 1:] == grid[:, :-1], grid[1:] == grid[:-1]
        touching = along[:, 1:] & (grid[1:, 1:] != NO_ANSWER)
        touching &= ~(along[:, :-1] & across[:-1])  # once for each pair of runs
        row, column = np.nonzero(touching)
        upper = row * wide + column + 1
        order = np.argsort(self._open, kind="stable")
        same = self._open[order[1:]] == self._open[order[:-1]]
        first = np.concatenate([_run_at(starts, upper), order[:-1][same]])
        second = np.concatenate([_run_at(starts, upper + wide), order[1:][same]])
        owner = self._own(components(len(starts), first, second), above)

        self._count(flat, starts, ends, owner, above, confidence)
        self._find_corners(grid, across, along, starts, owner)
        self._last = labels[-1].copy()
        self._open = owner[starts >= height * wide]
        self._y += height

    def _own(self, root: np.ndarray, above: int) -> np.ndarray:
        """The object of each run, given the first run that it is connected to; objects that meet become one."""
        is_root = root == np.arange(len(root))
        group = (np.cumsum(is_root) - 1)[root]
        unknown = np.iinfo(np.int64).max
        names = np.full(int(is_root.sum()), unknown)
        np.minimum.at(names, group[:above], self._open)
        fresh = names == unknown
        names[fresh] = self._next + np.arange(int(fresh.sum()))
        self._next += int(fresh.sum())
        to = names[group[:above]]
        moved = to != self._open
        self._joined.append((self._open[moved], to[moved]))
        return names[group]

    def _count(
        self,
        flat: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        owner: np.ndarray,
        above: int,
        confidence: np.ndarray | None,
    ) -> None:
        starts, ends = starts[above:], ends[above:]
        owners, inverse = np.unique(owner[above:], return_inverse=True)
        classes = np.empty(len(owners), np.uint8)
        classes[inverse] = flat[starts]
        pixels = _sums(inverse, ends - starts, len(owners))
        total = np.zeros(len(owners), np.int64)
        if confidence is not None and len(starts):
            values = np.zeros((confidence.shape[0] + 1, self._width + 2), np.uint8)
            values[1:, 1:-1] = confidence
            values.ravel()[flat == NO_ANSWER] = 0  # between runs: their sums may reach over it
            total = _sums(inverse, np.add.reduceat(values.ravel(), starts, dtype=np.int64), len(owners))
        self._parts.append(_Parts(owners, classes, pixels, total))
        self._new += len(owners)

    def _find_corners(
        self, grid: np.ndarray, across: np.ndarray, along: np.ndarray, starts: np.ndarray, owner: np.ndarray
    ) -> None:
        """The corners at the meeting points of four pixels, of which the lower two are in this strip."""
        top, bottom, left, right = across[:-1], across[1:], along[:, :-1], along[:, 1:]
        row, column = np.nonzero(~((top & bottom) | (left & right)))  # else all are equal, or a straight line
        wide = grid.shape[1]
        for down in (False, True):
            for to_right in (False, True):
                # the pixel on that side of the point, and its neighbours there; where both are of its class, the fourth
                # is not
                own = grid[row + down, column + to_right]
                beside = own == grid[row + down, column + 1 - to_right]
                over = own == grid[row + 1 - down, column + to_right]
                convex = ~beside & ~over
                here = (own != NO_ANSWER) & (convex | (beside & over))
                r, c, convex = row[here], column[here], convex[here]
                owners = owner[_run_at(starts, (r + down) * wide + c + to_right)]
                # a convex corner's lines run along its own pixel, a reflex one's along the pixel that is missing
                lines = convex == to_right, convex == down
                y, x = (self._y + r).astype(np.int32), c.astype(np.int32)
                self._corners.append(Corners(owners, y, x, *lines))
                self._new += len(owners)

    def _flush(self) -> Finished:
        parent = np.arange(self._next)
        for moved, to in self._joined:
            parent[moved] = to
        parent = followed(parent)
        parts = _Parts(*(np.concatenate([getattr(p, f.name) for p in self._parts]) for f in fields(_Parts)))
        corners = Corners(*(np.concatenate([getattr(p, f.name) for p in self._corners]) for f in fields(Corners)))
        corners.owner = parent[corners.owner]
        owners, inverse = np.unique(parent[parts.owner], return_inverse=True)
        classes = np.empty(len(owners), np.uint8)
        classes[inverse] = parts.classes
        pixels = _sums(inverse, parts.pixels, len(owners))
        confidence = _sums(inverse, parts.confidence, len(owners))

        going_on = np.zeros(self._next, bool)
        going_on[parent[self._open]] = True
        ended = owners[~going_on[owners]]
        number = np.empty(self._next, np.int64)  # first by age, then by where they end
        number[ended] = np.arange(len(ended))
        done = corners.at(~going_on[corners.owner])
        done.owner = number[done.owner]
        order = _order(done, len(ended), self._width)
        rank = np.empty(len(ended), np.int64)
        rank[order] = np.arange(len(ended))
        done.owner = rank[done.owner]
        chosen = np.flatnonzero(~going_on[owners])[order]
        finished = Finished(classes[chosen], pixels[chosen], confidence[chosen], done)

        left = going_on[owners]
        number[owners[left]] = np.arange(int(left.sum()))
        self._next = int(left.sum())
        self._open = number[parent[self._open]]
        self._parts = [_Parts(np.arange(self._next), classes[left], pixels[left], confidence[left])]
        kept = corners.at(going_on[corners.owner])
        kept.owner = number[kept.owner]
        self._corners, self._joined = [kept], []
        self._new, self._kept = 0, len(kept) + self._next
        return finished


def _run_at(starts: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Which run a position is in."""
    return np.searchsorted(starts, position, side="right") - 1


def _sums(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """(groups,) int64 sums of integers, which are exact up to 2**53."""
    return np.bincount(group, values, groups).astype(np.int64)


def _order(corners: Corners, objects: int, width: int) -> np.ndarray:
    """Objects by the row where they end, then by their first pixel."""
    bottom, first = np.zeros(objects, np.int64), np.full(objects, np.iinfo(np.int64).max)
    np.maximum.at(bottom, corners.owner, corners.y.astype(np.int64))
    np.minimum.at(first, corners.owner, corners.y.astype(np.int64) * (width + 1) + corners.x)
    return np.lexsort((first, bottom))
