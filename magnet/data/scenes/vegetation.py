"""Trees, bare or in leaf, and hedges."""

from __future__ import annotations

import math

from magnet.data.scenes.classes import VEGETATION
from magnet.data.scenes.colours import mix, shade
from magnet.data.scenes.random_numbers import Random
from magnet.data.scenes.street import Street


def add_plants(street: Street) -> None:
    r = street.random
    for _ in range(r.integer(6, 16)):
        side = -1 if r.chance(0.5) else 1
        add_tree(street, side * (street.road + r.uniform(0.9, street.facade - street.road)), r.uniform(9, 70))
    for _ in range(r.integer(2, 9)):  # hedges and tufts at the walls
        side, z, wide = (-1 if r.chance(0.5) else 1), r.uniform(7, 50), r.uniform(0.3, 0.9)
        street.add(z, _draw_hedge, side * (street.facade - 0.5), z, wide, r.branch(3))


def add_tree(street: Street, x: float, z: float) -> None:
    """A tree, unless it would stand right before the camera."""
    r = street.random
    style, tall, bare = r.branch(2), r.uniform(3.5, 9), r.chance(0.3)
    if z >= 6:
        street.add(z, _draw_tree, x, z, tall, bare, style)


def _draw_tree(street: Street, x: float, z: float, tall: float, bare: bool, r: Random) -> None:
    bark = street.air((r.uniform(60, 100), r.uniform(50, 80), r.uniform(40, 60)), z)
    foot, up = street.project(x, 0, z), street.pixels(tall, z)
    street.cast(x, z, tall, 0.2)

    def grow(px: float, py: float, angle: float, length: float, width: float, depth: int) -> None:
        qx, qy = px + length * math.sin(angle), py - length * math.cos(angle)
        street.canvas.line([(px, py), (qx, qy)], max(1.0, width), VEGETATION, bark)
        if depth:
            for _ in range(2 if r.chance(0.6) else 3):
                grow(qx, qy, angle + 0.9 * r.bell(), length * r.uniform(0.62, 0.82), width * 0.62, depth - 1)

    trunk = max(1.0, street.pixels(0.22, z))
    if bare:
        grow(foot[0], foot[1], 0.06 * r.bell(), up * 0.3, trunk, 6)
        return
    grow(foot[0], foot[1], 0.06 * r.bell(), up * 0.35, trunk, 2)
    crown = street.pixels(tall * r.uniform(0.24, 0.36), z)
    draw_foliage(street, foot[0], foot[1] - up * 0.72, crown, crown * r.uniform(0.8, 1.3), z, 520, r)
    spread = tall * 0.25
    cx, cz = x + street.sun[0] * tall * 0.7, z + street.sun[1] * tall * 0.7
    disc = [(cx + spread * math.cos(a / 6 * math.pi), cz + spread * math.sin(a / 6 * math.pi)) for a in range(12)]
    street.canvas.shadow([street.project(a, 0, b) for a, b in disc])


def _draw_hedge(street: Street, x: float, z: float, wide: float, r: Random) -> None:
    px, py = street.project(x, wide * 0.5, z)
    draw_foliage(street, px, py, street.pixels(wide, z), street.pixels(wide * 0.55, z), z, 160, r)


def draw_foliage(street: Street, cx: float, cy: float, rx: float, ry: float, z: float, count: int, r: Random) -> None:
    """A ragged crown: many small leaves of light over clumps of shade, with gaps at the rim."""
    base = mix(street.green, (r.uniform(60, 150), r.uniform(80, 140), r.uniform(20, 80)), 0.4)
    sun = -1 if street.sun[0] > 0 else 1
    for k in range(count):
        clump = k < count // 4
        a, d = r.uniform(0, 2 * math.pi), math.sqrt(r.uniform(0, 1)) * (0.8 if clump else r.uniform(0.8, 1.12))
        dx, dy = d * math.cos(a), d * math.sin(a)
        size = r.uniform(0.1, 0.24) if clump else r.uniform(0.02, 0.065)
        light = 0.82 - 0.28 * dy + 0.18 * sun * dx + 0.2 * r.bell()
        colour = street.air(shade(base, max(0.3, light)), z)
        x, y = cx + dx * rx, cy + dy * ry
        street.canvas.ellipse(x, y, max(1.0, size * rx), max(1.0, size * ry), VEGETATION, colour)
