"""Lamp posts and the cables between them."""

from __future__ import annotations

import math

from magnet.data.scenes.classes import POLE
from magnet.data.scenes.colours import Paint, grey, shade
from magnet.data.scenes.signs import add_signs
from magnet.data.scenes.street import Position, Street


def add_poles(street: Street) -> None:
    """Poles, cables and road signs, side by side of the street."""
    r = street.random
    for side in (-1, 1):
        _add_row(street, side)
        add_signs(street, side)
    for _ in range(r.integer(2, 6)):  # from house to house
        y = r.uniform(6, 11)
        left, right = (-street.facade, y, r.uniform(8, 60)), (street.facade, y + r.bell(), r.uniform(8, 60))
        _add_cable(street, left, right, r.uniform(0.3, 1.2))


def _add_row(street: Street, side: int) -> None:
    r = street.random
    z, spacing, tall = r.uniform(6, 14), r.uniform(9, 20), r.uniform(5.5, 9)
    x = side * (street.road + r.uniform(0.6, 1.2))
    tint = grey(r.uniform(50, 150))
    if r.chance(0.3):
        tint = (r.uniform(90, 130), r.uniform(70, 90), r.uniform(45, 65))
    wires, lamp, last = r.integer(3, 7), r.chance(0.7), None
    while z < 110:
        street.add(z, _draw_pole, x, z, tall, tint, -side if lamp else 0)
        street.cast(x, z, tall, 0.1)
        if last is not None:
            for k in range(wires):
                y = tall - 0.25 - 0.3 * k
                _add_cable(street, (x, y, last), (x, y, z), r.uniform(0.2, 0.7))
        if r.chance(0.5):  # across the street
            wall = (-side * street.facade, tall - r.uniform(-1, 1.5), z + r.uniform(-3, 6))
            _add_cable(street, (x, tall - 0.1, z), wall, r.uniform(0.2, 0.8))
        last, z = z, z + spacing * r.uniform(0.85, 1.15)


def _draw_pole(street: Street, x: float, z: float, tall: float, colour: Paint, arm: int) -> None:
    """arm: -1 or 1 for a lamp on that side, 0 for none."""
    tint = street.air(colour, z)
    width = max(1.0, min(8 * street.unit, street.pixels(0.08, z)))
    street.line([(x, 0, z), (x, tall, z)], width, POLE, tint)
    if width > 3:  # the lit side
        edge = street.pixels(0.03, z)
        foot, top = street.project(x, 0, z), street.project(x, tall, z)
        street.canvas.line([(foot[0] - edge, foot[1]), (top[0] - edge, top[1])], 1.0, None, shade(tint, 1.3))
    thin = max(1.0, street.pixels(0.05, z))
    street.line([(x - 0.7, tall - 0.3, z), (x + 0.7, tall - 0.3, z)], thin, POLE, tint)
    if arm:
        reach = [(x + arm * 1.8 * t, tall + 0.7 * math.sin(t * math.pi / 2), z) for t in (0, 0.25, 0.5, 0.75, 1)]
        street.line(reach, thin, POLE, tint)
        cx, cy = street.project(*reach[-1])
        rx, ry = max(1.5, street.pixels(0.35, z)), max(1.0, street.pixels(0.1, z))
        street.canvas.ellipse(cx, cy + thin, rx, ry, POLE, street.air((225, 222, 205), z))


def _add_cable(street: Street, a: Position, b: Position, sag: float) -> None:
    street.add(min(a[2], b[2]) + 0.01, _draw_cable, a, b, sag)


def _draw_cable(street: Street, a: Position, b: Position, sag: float) -> None:
    points: list[Position] = []
    steps = 14
    for k in range(steps + 1):
        t = k / steps
        x, y, z = (p + (q - p) * t for p, q in zip(a, b, strict=True))
        points.append((x, y - 4 * sag * t * (1 - t), z))
    near = min(a[2], b[2])
    width = min(2.0 * street.unit, max(1.0, street.pixels(0.02, near)))
    street.line(points, width, POLE, street.air((48, 48, 52), near * 0.6))
