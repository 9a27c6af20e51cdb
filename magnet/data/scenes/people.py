"""People on the pavements, and a few on the road."""

from __future__ import annotations

from magnet.data.scenes.classes import PERSON
from magnet.data.scenes.colours import Paint, mix, shade
from magnet.data.scenes.random_numbers import Random
from magnet.data.scenes.street import Street


def add_people(street: Street) -> None:
    r = street.random
    for _ in range(r.integer(16, 40)):
        x = r.uniform(street.road + 0.3, street.facade - 0.4) * (-1 if r.chance(0.5) else 1)
        if r.chance(0.15):
            x = r.uniform(-street.road, street.road)
        z = r.uniform(9, 45) if r.chance(0.5) else r.uniform(20, 80)
        street.add(z, _draw_person, x, z, r.branch(4))
        street.cast(x, z, 1.7, 0.24)


def _draw_person(street: Street, x: float, z: float, r: Random) -> None:
    canvas, (px, py) = street.canvas, street.project(x, 0, z)
    m = street.pixels(1.0, z) * r.uniform(0.9, 1.08)  # pixels a metre
    coat: Paint = (r.uniform(25, 215), r.uniform(25, 190), r.uniform(30, 200))
    legs: Paint = (r.uniform(25, 110), r.uniform(25, 100), r.uniform(30, 120))
    skin = mix((95, 62, 45), (235, 195, 170), r.uniform(0, 1))
    stride = r.uniform(0.02, 0.28)
    for foot in (-1, 1):
        leg = [(px + 0.05 * foot * m, py - 0.85 * m), (px + foot * stride * m, py)]
        canvas.line(leg, max(1.0, 0.13 * m), PERSON, street.air(shade(legs, 1 - 0.1 * foot), z))
    lean = r.uniform(-0.04, 0.04)
    body = [(-0.2 + lean, 1.42), (0.2 + lean, 1.42), (0.17, 0.8), (-0.17, 0.8)]
    if r.chance(0.3):
        body = [(-0.2 + lean, 1.42), (0.2 + lean, 1.42), (0.27, 0.5), (-0.27, 0.5)]
    canvas.polygon([(px + a * m, py - b * m) for a, b in body], PERSON, street.air(coat, z))
    for side in (-1, 1):
        hand = r.uniform(0.15, 0.38)
        arm = [(px + (0.19 * side + lean) * m, py - 1.38 * m), (px + hand * side * m, py - 0.85 * m)]
        canvas.line(arm, max(1.0, 0.09 * m), PERSON, street.air(shade(coat, 0.85), z))
    head = px + lean * m
    canvas.ellipse(head, py - 1.6 * m, max(1.0, 0.11 * m), max(1.0, 0.14 * m), PERSON, street.air(skin, z))
    hair = mix((25, 20, 18), (165, 140, 105), r.uniform(0, 1))
    canvas.ellipse(head, py - 1.68 * m, 0.1 * m, 0.07 * m, None, street.air(hair, z))
