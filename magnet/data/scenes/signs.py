"""Road signs: round, triangular and square, on thin posts."""

from __future__ import annotations

from magnet.data.scenes.classes import POLE
from magnet.data.scenes.street import Street

_ROUND, _TRIANGLE, _SQUARE = range(3)


def add_signs(street: Street, side: int) -> None:
    r = street.random
    for _ in range(r.integer(2, 6)):
        x, z = side * (street.road + r.uniform(0.4, 1.6)), r.uniform(7, 55)
        kind, tall = r.integer(_ROUND, _SQUARE + 1), r.uniform(2, 3)
        street.add(z, _draw_sign, x, z, tall, kind)
        street.cast(x, z, 2.3, 0.07)


def _draw_sign(street: Street, x: float, z: float, tall: float, kind: int) -> None:
    post = max(1.0, min(5 * street.unit, street.pixels(0.06, z)))
    street.line([(x, 0, z), (x, tall, z)], post, POLE, street.air((125, 128, 130), z))
    canvas, (cx, cy), size = street.canvas, street.project(x, tall, z), street.pixels(0.3, z)
    red, white, blue = (street.air(c, z) for c in ((190, 35, 40), (235, 235, 230), (35, 75, 170)))
    if kind == _ROUND:
        canvas.ellipse(cx, cy, size, size, POLE, red)
        canvas.ellipse(cx, cy, size * 0.72, size * 0.72, None, white)
    elif kind == _TRIANGLE:
        outer = [(cx - size, cy + size * 0.8), (cx + size, cy + size * 0.8), (cx, cy - size * 0.9)]
        inner = [(cx - size * 0.6, cy + size * 0.55), (cx + size * 0.6, cy + size * 0.55), (cx, cy - size * 0.5)]
        canvas.polygon(outer, POLE, red)
        canvas.polygon(inner, None, white)
    else:
        canvas.box(cx - size, cy - size, cx + size, cy + size, POLE, blue)
        canvas.box(cx - size * 0.5, cy - size * 0.2, cx + size * 0.5, cy + size * 0.2, None, white)
