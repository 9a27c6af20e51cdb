"""Pavement and asphalt, with their joints, kerbs, patches and cracks."""

from __future__ import annotations

from magnet.data.scenes.classes import GROUND
from magnet.data.scenes.colours import Paint, shade
from magnet.data.scenes.street import NEAR, Street

_FAR = 400.0
_BOUNDS = (NEAR, 6.0, 8.0, 11.0, 15.0, 20.0, 28.0, 40.0, 60.0, 100.0, _FAR)  # strips, so that haze grows with distance


def draw_ground(street: Street) -> None:
    r = street.random
    pavement: Paint = (r.uniform(130, 190), r.uniform(130, 180), r.uniform(125, 175))
    level = r.uniform(70, 135)
    asphalt: Paint = (level, level * r.uniform(0.97, 1.03), level * r.uniform(0.95, 1.08))
    street.canvas.box(0, street.horizon, street.width, street.height, GROUND, street.air(pavement, 60))
    for near, beyond in zip(_BOUNDS[-2::-1], _BOUNDS[:0:-1], strict=True):
        wide = 60.0 + beyond
        street.flat(-wide, wide, near, beyond, GROUND, street.air(pavement, near))
        street.flat(-street.road, street.road, near, beyond, GROUND, street.air(asphalt, near))
    _draw_joints(street, pavement)
    kerb = street.air(shade(pavement, 1.15), 15)
    for side in (-1, 1):
        street.flat(side * street.road, side * (street.road + 0.2), NEAR, _FAR, GROUND, kerb)
    _draw_patches(street, asphalt)
    _draw_cracks(street, asphalt)


def _draw_joints(street: Street, pavement: Paint) -> None:
    """Joints between slabs: thin dark lines that are ground."""
    slab = street.random.uniform(0.6, 1.4)
    z = 4.0
    while z < 45:
        for side in (-1, 1):
            ends = [(side * street.road, 0.0, z), (side * street.facade, 0.0, z)]
            street.line(ends, 1.0, None, street.air(shade(pavement, 0.8), z))
        z += slab


def _draw_patches(street: Street, asphalt: Paint) -> None:
    r = street.random
    for _ in range(r.integer(3, 10)):
        x, z = r.uniform(-street.road, street.road), r.uniform(5, 40)
        wide, long = r.uniform(0.3, 1.6), r.uniform(0.5, 5)
        x = min(max(x, wide - street.road), street.road - wide)
        patch = street.air(shade(asphalt, r.uniform(0.75, 1.2)), z)
        street.flat(x - wide, x + wide, z, z + long, GROUND, patch)


def _draw_cracks(street: Street, asphalt: Paint) -> None:
    r = street.random
    for _ in range(r.integer(2, 6)):
        x, z = r.uniform(-street.road, street.road), r.uniform(5, 25)
        crack = [(x, 0.0, z)]
        for _ in range(8):
            x = min(max(x + 0.5 * r.bell(), -street.road), street.road)
            z += r.uniform(-0.1, 0.8)
            crack.append((x, 0.0, z))
        street.line(crack, 1.0, None, street.air(shade(asphalt, 0.65), z))
