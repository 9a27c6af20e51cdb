"""Exchanges that bring the median of a list to its middle; made once, unrolled by the compiler."""

from __future__ import annotations

import functools

Exchange = tuple[int, int]


@functools.cache
def median_network(count: int) -> tuple[Exchange, ...]:
    """Exchanges (i, j), i < j, the lower value to i, that bring the median of ``count`` values to element count // 2.

    Batcher's odd-even merge sort without what the middle does not need: 24 of 9 values, 113 of 25.
    """
    wanted, kept = {count // 2}, []
    for exchange in reversed(_sort(count)):
        if wanted & set(exchange):
            wanted |= set(exchange)
            kept.append(exchange)
    return tuple(reversed(kept))


def _sort(count: int) -> list[Exchange]:
    exchanges: list[Exchange] = []

    def merge(low: int, span: int, step: int) -> None:
        twice = 2 * step
        if twice < span:
            merge(low, span, twice)
            merge(low + step, span, twice)
            exchanges.extend((i, i + step) for i in range(low + step, low + span - step, twice))
        else:
            exchanges.append((low, low + step))

    def sort(low: int, span: int) -> None:
        if span > 1:
            sort(low, span // 2)
            sort(low + span // 2, span // 2)
            merge(low, span, 1)

    sort(0, 1 << (count - 1).bit_length())
    return [(i, j) for i, j in exchanges if j < count]  # from `count` on there would be the highest, which stay
