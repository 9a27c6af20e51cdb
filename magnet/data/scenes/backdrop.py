"""What lies beyond the street: the sky, a skyline, far trees."""

from __future__ import annotations

from magnet.data.scenes.classes import BUILDING, POLE, SKY
from magnet.data.scenes.colours import Paint, mix, shade, wall_colour
from magnet.data.scenes.street import Street
from magnet.data.scenes.vegetation import draw_foliage


def draw_backdrop(street: Street) -> None:
    _draw_sky(street)
    _draw_skyline(street)
    r = street.random
    for _ in range(r.integer(10, 40)):  # far trees
        far = r.uniform(0.4, 1.2) * street.visibility
        x, size = r.uniform(0, street.width), r.uniform(12, 50) * street.unit
        draw_foliage(street, x, street.horizon - size * 0.3, size * r.uniform(1, 2), size * 0.7, far, 30, r)


def _draw_sky(street: Street) -> None:
    steps = 64
    for i in range(steps):
        top, bottom = street.horizon * i / steps, street.horizon * (i + 1) / steps + 1
        colour = mix(street.sky_top, street.haze, (i / steps) ** 1.3)
        street.canvas.box(0, top, street.width, bottom, SKY, colour)


def _draw_skyline(street: Street) -> None:
    r = street.random
    x = -50.0 * street.unit
    while x < street.width:
        wide, tall = r.uniform(40, 150) * street.unit, r.uniform(10, 190) * street.unit
        colour = street.air(wall_colour(r), r.uniform(0.5, 1.3) * street.visibility)
        if r.chance(0.8):
            roof = street.horizon - tall
            street.canvas.box(x, roof, x + wide, street.horizon + 2, BUILDING, colour)
            _draw_far_windows(street, x, roof, wide, tall, colour)
            if r.chance(0.45):
                _draw_far_antenna(street, x + wide * r.uniform(0.2, 0.8), roof, shade(colour, 0.7))
        x += wide * r.uniform(0.7, 1.4)


def _draw_far_windows(street: Street, x: float, top: float, wide: float, tall: float, colour: Paint) -> None:
    r = street.random
    step = r.uniform(9, 16) * street.unit
    half = step * 0.25
    for row in range(int(tall / step)):
        for column in range(int(wide / step)):
            if r.chance(0.7):
                cx, cy = x + (column + 0.5) * step, top + (row + 0.6) * step
                pane = shade(colour, r.uniform(0.78, 0.95))
                street.canvas.box(cx - half, cy - half, cx + half, cy + half, None, pane)


def _draw_far_antenna(street: Street, x: float, foot: float, colour: Paint) -> None:
    up = street.random.uniform(25, 80) * street.unit
    street.canvas.line([(x, foot), (x, foot - up)], 1.5 * street.unit, POLE, colour)
    for k in range(1, 4):
        y, half = foot - up * k / 3.2, up * 0.12
        street.canvas.line([(x - half, y), (x + half, y)], street.unit, POLE, colour)
