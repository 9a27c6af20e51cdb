"""Fences along the pavement, and the railings that they and balconies are made of."""

from __future__ import annotations

import math

from magnet.data.scenes.canvas import Point
from magnet.data.scenes.classes import FENCE
from magnet.data.scenes.colours import Paint, grey
from magnet.data.scenes.street import NEAR, Position, Street


def add_fences(street: Street) -> None:
    r = street.random
    for side in (-1, 1):
        z = r.uniform(4, 9)
        while z < 55:
            long, tall, gap = r.uniform(5, 14), r.uniform(0.8, 1.3), r.uniform(0.12, 0.22)
            x = side * (street.road + r.uniform(0.25, 0.5)) if r.chance(0.75) else side * (street.facade - 0.2)
            cross = r.chance(0.3)
            colour: Paint = (215, 215, 210)
            if r.chance(0.7):
                colour = street.green if r.chance(0.3) else grey(r.uniform(30, 90))
            if r.chance(0.72):
                _add_fence(street, x, z, long, tall, gap * (1.6 if cross else 1), colour, cross)
            z += long + r.uniform(0, 6)


def _add_fence(
    street: Street, x: float, z: float, long: float, tall: float, gap: float, colour: Paint, cross: bool
) -> None:
    # in short pieces, so that whoever stands behind or before it is painted in the right order
    pieces = int(long / 2.5) + 1
    for k in range(pieces):
        a, b = z + long * k / pieces, z + long * (k + 1) / pieces
        street.add((a + b) / 2, draw_railing, (x, 0.0, a), (x, 0.0, b), tall, gap, colour, cross)
    sx, sz = x + street.sun[0] * tall, street.sun[1] * tall
    street.canvas.shadow([street.project(sx, 0, z + sz), street.project(sx, 0, z + long + sz)], 1.5 * street.unit)
    street.canvas.shadow([street.project(x, 0, z), street.project(x, 0, z + long)], 1.5 * street.unit)


def draw_railing(
    street: Street, a: Position, b: Position, tall: float, gap: float, colour: Paint, cross: bool = False
) -> None:
    """A fence between two world points: rails along it, bars or a lattice between them; 1 to 3 pixels each."""
    (xa, ya, za), (xb, yb, zb) = a, b
    za, zb = max(za, NEAR), max(zb, NEAR)

    def at(share: float, up: float) -> tuple[Point, float]:
        z = za + (zb - za) * share
        return street.project(xa + (xb - xa) * share, ya + (yb - ya) * share + up, z), z

    length = math.hypot(xb - xa, zb - za)
    pieces = max(1, int(length / 2))
    for k in range(pieces):
        for up in (0.08 * tall, tall):
            (p, z), (q, _) = at(k / pieces, up), at((k + 1) / pieces, up)
            width = min(3.5 * street.unit, max(1.0, street.pixels(0.028, z)))
            street.canvas.line([p, q], width, FENCE, street.air(colour, z))
    share, last = 0.0, -1e9
    while share <= 1:
        foot, z = at(share, 0.0)
        if abs(foot[0] - last) >= 5.5 * street.unit or street.pixels(tall, z) < 12 * street.unit:
            width = min(3 * street.unit, max(1.0, street.pixels(0.022, z)))
            tint = street.air(colour, z)
            if cross:
                lean = min(1.0, share + tall * 0.6 / length)
                street.canvas.line([foot, at(lean, tall)[0]], width, FENCE, tint)
                street.canvas.line([at(share, tall)[0], at(lean, 0.0)[0]], width, FENCE, tint)
            else:
                street.canvas.line([foot, at(share, tall)[0]], width, FENCE, tint)
            last = foot[0]
        share += gap / length
