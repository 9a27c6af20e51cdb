"""Paint on the road: lanes, edges, zebra crossings, hatching."""

from __future__ import annotations

from magnet.data.scenes.classes import MARKING
from magnet.data.scenes.colours import Paint, grey, shade
from magnet.data.scenes.street import NEAR, Street


def draw_markings(street: Street) -> None:
    r = street.random
    paint: Paint = (225, 190, 90) if r.chance(0.25) else grey(r.uniform(205, 245))
    wear = r.uniform(0.8, 1.0)

    def stripe(x: float, z0: float, z1: float, half: float) -> None:
        colour = shade(street.air(paint, z0), wear * r.uniform(0.9, 1.0))
        if street.pixels(half, z0) * 2 < 1.5:  # a polygon thinner than a pixel would vanish
            street.line([(x, 0, z0), (x, 0, z1)], 1.0, MARKING, colour)
        else:
            street.flat(x - half, x + half, z0, z1, MARKING, colour)

    lanes = r.integer(1, 4)
    period, dash, half = r.uniform(3, 7), r.uniform(0.45, 0.7), r.uniform(0.035, 0.075)
    for lane in range(lanes):
        x = street.road * (2 * (lane + 1) / (lanes + 1) - 1)
        z = r.uniform(NEAR, NEAR + period)
        while z < 120:
            stripe(x, z, z + period * dash, half)
            z += period
    if r.chance(0.8):
        edge = street.road - r.uniform(0.25, 0.6)
        for side in (-1, 1):
            z = NEAR
            while z < 140:
                stripe(side * edge, z, z * 1.25 + 0.1, half)
                z *= 1.25
    for _ in range(r.integer(1, 3)):  # zebra crossings
        z, long, wide = r.uniform(7, 45), r.uniform(2, 3.5), r.uniform(0.35, 0.6)
        x = -street.road + wide
        while x < street.road - wide:
            stripe(x, z, z + long, wide / 2)
            x += 2 * wide
    for _ in range(r.integer(1, 4)):  # hatching, parking bays
        side, start = (-1 if r.chance(0.5) else 1), r.uniform(6, 30)
        for k in range(r.integer(4, 10)):
            z = start + 1.1 * k
            ends = [(side * street.road, 0.0, z), (side * (street.road - 1.6), 0.0, z + 0.8)]
            street.line(ends, max(1.0, street.pixels(0.035, z)), MARKING, street.air(shade(paint, wear), z))
