"""From the corners of objects to the rings of polygons."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from magnet.images.label_files.objects import Corners

__all__ = ["Outlines"]


class Outlines:
    """The rings of objects whose corners are all known.

    Polygons are valid as OGC defines it: an object that touches itself at a point, around pixels that are not its own,
    has a hole that touches there, and no ring meets itself.

    Args:
        corners: with owners 0..n-1, each with corners.

    Attributes:
        corners: the same, by owner, row and column; rings are indices into it.
        bounds: where the corners of each owner start, and at the end where the last one's end.
    """

    def __init__(self, corners: Corners) -> None:
        corners = corners.at(np.lexsort((corners.right, corners.x, corners.y, corners.owner)))
        # where an object touches itself at a point there are two corners, one to the left and up or down, the other one
        # to the right. Lines are joined around the pixels that are not the object's, as two of these on both sides of
        # the point belong to different rings (a way within the object leads around one of them)
        owner, y, x = corners.owner, corners.y, corners.x
        twice = np.flatnonzero((owner[1:] == owner[:-1]) & (y[1:] == y[:-1]) & (x[1:] == x[:-1]))
        down = corners.down.copy()
        down[twice], down[twice + 1] = corners.down[twice + 1], corners.down[twice]
        order = np.lexsort((down, y, x, owner))
        other = np.empty(len(order), np.int64)  # at the other end of the line up or down
        other[order[0::2]], other[order[1::2]] = order[1::2], order[0::2]
        self.corners = corners
        self._other = array("q", other.tobytes())
        self._seen = bytearray(len(order))
        self.bounds = np.flatnonzero(np.diff(owner, prepend=-1, append=-1)).tolist()

    def rings(self, start: int, end: int) -> Iterator[array[int]]:
        """The rings of the object whose corners are those from ``start`` to ``end``, the outer one first; once.

        A ring holds indices, without its first corner again at the end. All begin at their first corner in reading
        order and go right from there: counterclockwise where y points up.
        """
        seen, other = self._seen, self._other
        while start >= 0:
            ring = array("q")
            one = start
            while not seen[one]:
                beside = one ^ 1  # lines to the right join neighbours in the order of corners
                seen[one] = seen[beside] = 1
                ring.append(one)
                ring.append(beside)
                one = other[beside]
            yield ring
            start = seen.find(0, start, end)
