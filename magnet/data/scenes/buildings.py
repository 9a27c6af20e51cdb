"""The buildings along the street: walls, windows, balconies, roofs, antennas."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from magnet.data.scenes.classes import BUILDING, POLE
from magnet.data.scenes.colours import Paint, mix, shade, wall_colour
from magnet.data.scenes.fences import draw_railing
from magnet.data.scenes.random_numbers import Random
from magnet.data.scenes.street import NEAR, Position, Street
from magnet.data.scenes.vegetation import add_tree


def add_buildings(street: Street) -> None:
    r = street.random
    for side in (-1, 1):
        z = r.uniform(2, 9)
        while z < 110:
            long, tall = r.uniform(6, 20), r.uniform(4.5, 19)
            style = r.branch(1)
            if r.chance(0.83):
                street.add(z + long, _draw_building, side, z, z + long, tall, style)
            elif r.chance(0.8):
                for _ in range(r.integer(1, 4)):
                    add_tree(street, side * (street.facade + r.uniform(1, 6)), z + r.uniform(0.2, 1) * long)
            z += long + (r.uniform(2, 12) if r.chance(0.4) else 0.05)


class _Block(NamedTuple):
    """A block from the street at x to ``deep``, and from z0 to z1."""

    x: float
    deep: float
    z0: float
    z1: float
    tall: float
    wall: Paint
    lit: float  # light on the side along the street


class _Windows(NamedTuple):
    glass: Paint
    floor: float  # metres from one row to the next, from one column to the next
    bay: float
    tall: float  # of a pane, as a share of these
    wide: float
    bars: int
    courses: bool
    balconies: bool


def _draw_building(street: Street, side: int, z0: float, z1: float, tall: float, r: Random) -> None:
    x = side * street.facade
    block = _Block(
        wall=wall_colour(r),
        lit=1.0 if side * street.sun[0] > 0 else 0.72,
        x=x,
        deep=x + side * r.uniform(8, 20),
        z0=max(z0, NEAR),
        z1=z1,
        tall=tall,
    )
    windows = _Windows(
        glass=(r.uniform(35, 120), r.uniform(50, 130), r.uniform(60, 150)),
        floor=r.uniform(2.7, 3.6),
        bay=r.uniform(1.5, 3.2),
        tall=r.uniform(0.4, 0.65),
        wide=r.uniform(0.35, 0.75),
        bars=r.integer(0, 3),
        courses=r.chance(0.4),
        balconies=r.chance(0.35),
    )
    if side * street.sun[0] < 0:
        _cast_shadow(street, block)
    _draw_walls(street, block)
    if windows.courses:
        _draw_courses(street, block)
    _draw_windows(street, block, windows, r, on_street=False)
    _draw_windows(street, block, windows, r, on_street=True)
    _draw_roof(street, block)
    for _ in range(r.integer(0, 4)):
        _draw_antenna(street, block, r)


def _cast_shadow(street: Street, block: _Block) -> None:
    x, z0, z1 = block.x, block.z0, block.z1
    sx, sz = street.sun[0] * block.tall, street.sun[1] * block.tall
    ground = [(x, z0), (x, z1), (x + sx, z1 + sz), (x + sx, z0 + sz)]
    street.canvas.shadow([street.project(a, 0, b) for a, b in ground])


def _draw_walls(street: Street, block: _Block) -> None:
    """The front end of the block, then the side along the street."""
    x, deep, z0, z1, tall, wall, lit = block
    front = street.air(shade(wall, 1.25 - 0.4 * lit), z0)
    street.quad([(x, 0, z0), (deep, 0, z0), (deep, tall, z0), (x, tall, z0)], BUILDING, front)
    steps = max(1, int((z1 - z0) / 4))
    for k in range(steps - 1, -1, -1):  # in slices, so that haze grows with distance
        a, b = z0 + (z1 - z0) * k / steps, z0 + (z1 - z0) * (k + 1) / steps
        street.quad([(x, 0, a), (x, 0, b), (x, tall, b), (x, tall, a)], BUILDING, street.air(shade(wall, lit), a))


def _draw_courses(street: Street, block: _Block) -> None:
    colour = street.air(shade(block.wall, block.lit * 0.86), (block.z0 + block.z1) / 2)
    y = 0.5
    while y < block.tall:
        street.line([(block.x, y, block.z0), (block.x, y, block.z1)], 1.0, None, colour)
        y += 0.5


def _draw_windows(street: Street, block: _Block, windows: _Windows, r: Random, on_street: bool) -> None:
    """The windows of the side along the street, or of the front end. u runs along the wall."""
    first, last = (block.z0, block.z1) if on_street else (0.0, abs(block.deep - block.x))
    outward = 1 if block.deep > block.x else -1

    def at(u: float, y: float) -> Position:
        return (block.x, y, u) if on_street else (block.x + outward * u, y, block.z0)

    columns, rows = int((last - first) / windows.bay), int((block.tall - 0.4) / windows.floor)
    for row in range(rows):
        for column in range(columns):
            u0 = first + (column + (1 - windows.wide) / 2) * windows.bay
            y0 = row * windows.floor + windows.floor * (1 - windows.tall) * 0.6
            u1, y1 = u0 + windows.bay * windows.wide, y0 + windows.floor * windows.tall
            z = u0 if on_street else block.z0
            if street.pixels(y1 - y0, z) < 3:
                continue
            frame = street.air(shade(block.wall, block.lit * (1.2 if r.chance(0.5) else 0.75)), z)
            pane = street.air(mix(windows.glass, street.sky_top, r.uniform(0, 0.45)), z)
            if r.chance(0.06):
                pane = street.air((245, 215, 140), z)
            _draw_window(street, at, (u0, y0, u1, y1), z, windows.bars, frame, pane)
            if windows.balconies and on_street and row > 0 and z < 40 and (row + column) % 2:
                draw_railing(street, at(u0 - 0.2, y0 - 0.3), at(u1 + 0.2, y0 - 0.3), 0.8, 0.16, (60, 62, 66))


def _draw_window(
    street: Street,
    at: Callable[[float, float], Position],
    edges: tuple[float, float, float, float],
    z: float,
    bars: int,
    frame: Paint,
    pane: Paint,
) -> None:
    u0, y0, u1, y1 = edges
    e = 0.08
    street.quad([at(u0 - e, y0 - e), at(u1 + e, y0 - e), at(u1 + e, y1 + e), at(u0 - e, y1 + e)], None, frame)
    street.quad([at(u0, y0), at(u1, y0), at(u1, y1), at(u0, y1)], None, pane)
    for k in range(bars):  # glazing bars: thin, and building
        u = u0 + (u1 - u0) * (k + 1) / (bars + 1)
        street.line([at(u, y0), at(u, y1)], max(1.0, street.pixels(0.03, z)), None, frame)


def _draw_roof(street: Street, block: _Block) -> None:
    x, deep, z0, z1, tall, wall, _ = block
    colour = street.air(shade(wall, 0.55), z0)
    along, across = max(1.0, street.pixels(0.25, (z0 + z1) / 2)), max(1.0, street.pixels(0.25, z0))
    street.line([(x, tall, z0), (x, tall, z1)], along, BUILDING, colour)
    street.line([(x, tall, z0), (deep, tall, z0)], across, BUILDING, colour)


def _draw_antenna(street: Street, block: _Block, r: Random) -> None:
    x, roof = block.x, block.tall
    z, up = block.z0 + (block.z1 - block.z0) * r.uniform(0.05, 0.95), r.uniform(1, 3.2)
    tint = street.air((70, 70, 74), z)
    mast = max(1.0, street.pixels(0.03, z))
    street.line([(x, roof, z), (x, roof + up, z)], mast, POLE, tint)
    for k in range(1, 4):
        y = roof + up * (0.5 + 0.15 * k)
        street.line([(x - 0.5, y, z), (x + 0.5, y, z)], max(1.0, mast * 0.6), POLE, tint)
