"""By which factor a level is coarser than the finest one, and which level serves a size."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.bounds import Size

__all__ = ["choose_level", "level_factor"]


def level_factor(size: Size, level: Size) -> tuple[float, float]:
    """How many pixels of ``size`` (H, W) one of ``level`` (h, w) spans, along rows and columns.

    Writers round the sizes of levels down or up: 1001 pixels halved are 500 or 501, and 2.002 or 1.998 would shift
    whatever is read. A whole number that both sides of the level are rounded from is the factor; otherwise
    the factors are the quotients.
    """
    rows, columns = (_divisors(*both, max(size)) for both in zip(size, level, strict=True))
    candidates = range(max(rows.start, columns.start), min(rows.stop, columns.stop))
    if not candidates:
        return size[0] / level[0], size[1] / level[1]
    # several fit where a level is small; levels are halved far more often than divided by anything else
    quotient = (size[0] / level[0] + size[1] / level[1]) / 2
    best = float(min(candidates, key=lambda d: (d & (d - 1) != 0, abs(d - quotient))))
    return best, best


def _divisors(whole: int, part: int, largest: int) -> range:
    """Whole numbers d, up to ``largest``, for which ``part`` is ``whole / d`` rounded down or up, and at least 1."""
    if part > whole:
        return range(0)
    least = min(whole // (part + 1) + 1, -(-whole // part))  # of those that round down, and of those that round up
    most = max(whole // part, (whole - 1) // (part - 1) if part > 1 else largest)
    return range(least, most + 1)


def choose_level(factors: Sequence[tuple[float, float]], pitch: tuple[float, float]) -> int:
    """The coarsest level that is fine enough.

    Args:
        factors: of each level, finest first, see :func:`level_factor`.
        pitch: pixels of the finest level from one pixel of the result to the next, along rows and columns.
    """
    best = 0
    for i, (rows, columns) in enumerate(factors):
        # quotients of sizes carry rounding errors
        if rows <= pitch[0] * (1 + 1e-9) and columns <= pitch[1] * (1 + 1e-9) and rows >= factors[best][0]:
            best = i
    return best
