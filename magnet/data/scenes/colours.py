"""Colours: RGB in grey levels 0 to 255, as floats that may overshoot until they are painted."""

from __future__ import annotations

from magnet.data.scenes.random_numbers import Random

Paint = tuple[float, float, float]

_WALLS: tuple[Paint, ...] = ((172, 98, 74), (196, 176, 142), (150, 152, 158), (214, 206, 196), (128, 140, 118))


def mix(a: Paint, b: Paint, share: float) -> Paint:
    """``a`` where share is 0, ``b`` where it is 1."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def shade(colour: Paint, factor: float) -> Paint:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def grey(level: float) -> Paint:
    return (level, level, level)


def wall_colour(r: Random) -> Paint:
    kind, light = r.integer(0, len(_WALLS)), r.uniform(0.65, 1.1)
    return shade(mix(_WALLS[kind], (r.uniform(90, 220), r.uniform(90, 200), r.uniform(80, 190)), 0.3), light)
