"""Street scenes drawn from a seed, with exact labels: something to try, train and test on without any download.

A scene is a small 3-D street seen through a pinhole camera and painted back to front. Labels are rasterised at the
exact resolution; the picture is drawn at twice that, reduced, then lit, textured, blurred and given sensor noise.
Poles, cables, fences, bare branches and far lane markings are 1 to 4 pixels wide at 1024 x 2048: a prediction made at
an eighth of the resolution cannot hold them. Shadows, window bars, brick courses and clothes share their colours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from magnet.files import atomic_path, check_output_dir

Colour = tuple[float, float, float]
Point = tuple[float, float]


class SceneClass(NamedTuple):
    """A class of the generated scenes: its name and the colour it has in label pictures."""

    name: str
    colour: tuple[int, int, int]


SCENE_CLASSES: tuple[SceneClass, ...] = (
    SceneClass("sky", (70, 130, 180)),
    SceneClass("building", (110, 98, 104)),
    SceneClass("ground", (128, 64, 128)),
    SceneClass("marking", (250, 240, 210)),
    SceneClass("vegetation", (85, 140, 35)),
    SceneClass("pole", (245, 190, 20)),
    SceneClass("fence", (0, 205, 200)),
    SceneClass("person", (220, 20, 60)),
)
SKY, BUILDING, GROUND, MARKING, VEGETATION, POLE, FENCE, PERSON = range(len(SCENE_CLASSES))

_MIN_SIDE = 256
_NEAR = 3.0  # metres: nothing is drawn closer to the camera


class _Random:
    """Draws from PCG64's plain doubles only: numpy promises that stream, and not that of its distributions."""

    def __init__(self, seed: int, stream: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def integer(self, low: int, high: int) -> int:
        """A whole number, low <= n < high."""
        return low + min(int(self._generator.random() * (high - low)), high - low - 1)

    def chance(self, probability: float) -> bool:
        return float(self._generator.random()) < probability

    def bell(self) -> float:
        """Nearly normal, mean 0, standard deviation about 0.58, never beyond 2."""
        return float(self._generator.random(4).sum()) - 2.0

    def field(self, height: int, width: int) -> np.ndarray:
        """(height, width) float32, uniform in [-1, 1)."""
        return self._generator.random((height, width), dtype=np.float32) * 2 - 1


class _Canvas:
    """Draws each shape twice: its class at the exact resolution, its colour at twice that."""

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = size
        self.labels = Image.new("L", (width, height), SKY)
        self.colours = Image.new("RGB", (2 * width, 2 * height))
        self.shadows = Image.new("L", (width, height), 0)
        self._on_labels = ImageDraw.Draw(self.labels)
        self._on_colours = ImageDraw.Draw(self.colours)
        self._on_shadows = ImageDraw.Draw(self.shadows)

    def polygon(self, points: list[Point], label: int | None, colour: Colour) -> None:
        if label is not None:
            self._on_labels.polygon(_whole(points, 1), fill=label)
        self._on_colours.polygon(_whole(points, 2), fill=_bytes(colour))

    def line(self, points: list[Point], width: float, label: int | None, colour: Colour) -> None:
        if label is not None:
            self._on_labels.line(_whole(points, 1), fill=label, width=max(1, round(width)))
        self._on_colours.line(_whole(points, 2), fill=_bytes(colour), width=max(2, round(2 * width)))

    def ellipse(self, x: float, y: float, rx: float, ry: float, label: int | None, colour: Colour) -> None:
        corners = [(x - rx, y - ry), (x + rx, y + ry)]
        if label is not None:
            self._on_labels.ellipse(_whole(corners, 1), fill=label)
        self._on_colours.ellipse(_whole(corners, 2), fill=_bytes(colour))

    def shadow(self, points: list[Point], width: float | None = None) -> None:
        """Darken the ground under a polygon, or under a line of a width."""
        if width is None:
            self._on_shadows.polygon(_whole(points, 1), fill=255)
        else:
            self._on_shadows.line(_whole(points, 1), fill=255, width=max(1, round(width)))


def _whole(points: list[Point], scale: int) -> list[tuple[int, int]]:
    return [(math.floor(x * scale + 0.5), math.floor(y * scale + 0.5)) for x, y in points]


def _bytes(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, int(c))) for c in colour)
    return r, g, b


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def _shade(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


class _Street:
    """Layout, camera and palette of one scene. World: x right, y up, z ahead, in metres; the ground is y = 0."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self.height, self.width = size
        self.random = _Random(seed, 0)
        self.canvas = _Canvas(size)
        r = self.random
        self.unit = self.height / 1024  # sizes in pixels are thought of at 1024 rows
        self.focal = self.height * r.uniform(0.85, 1.15)
        self.eye = r.uniform(2.2, 3.6)
        self.horizon = self.height * r.uniform(0.44, 0.56)
        self.vanish = self.width * r.uniform(0.36, 0.64)
        self.road = r.uniform(3.6, 5.6)  # half widths, from the middle of the road
        self.facade = self.road + r.uniform(2.6, 4.6)
        self.sun = (r.uniform(-1.4, 1.4), r.uniform(-0.5, 0.9))  # where the shadow of one metre falls, (x, z)
        grey = r.uniform(120, 225)
        self.sky_top: Colour = (grey * r.uniform(0.35, 0.95), grey * r.uniform(0.7, 1.0), grey * r.uniform(1.0, 1.15))
        pale = r.uniform(180, 228)
        self.haze: Colour = (pale * r.uniform(0.96, 1.06), pale * r.uniform(0.97, 1.02), pale * r.uniform(0.94, 1.06))
        self.visibility = r.uniform(70, 260)
        self.green: Colour = (r.uniform(55, 125), r.uniform(85, 140), r.uniform(30, 75))
        self.objects: list[tuple[float, Callable[[], None]]] = []

    def project(self, x: float, y: float, z: float) -> Point:
        return self.vanish + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z

    def pixels(self, metres: float, z: float) -> float:
        return self.focal * metres / z

    def air(self, colour: Colour, z: float) -> Colour:
        """The colour as seen through z metres of haze."""
        return _mix(colour, self.haze, 1 - math.exp(-z / self.visibility))

    def add(self, z: float, draw: Callable[..., None], *arguments: object) -> None:
        """Something to paint at a depth, once everything farther away is there."""
        self.objects.append((z, partial(draw, *arguments)))

    def paint(self) -> None:
        for _, draw in sorted(self.objects, key=lambda item: -item[0]):
            draw()

    def quad(self, corners: list[tuple[float, float, float]], label: int | None, colour: Colour) -> None:
        self.canvas.polygon([self.project(x, y, max(z, _NEAR)) for x, y, z in corners], label, colour)

    # --- backdrop -----------------------------------------------------------------------------------------------

    def draw_backdrop(self) -> None:
        r, canvas = self.random, self.canvas
        steps = 64
        for i in range(steps):
            top, bottom = self.horizon * i / steps, self.horizon * (i + 1) / steps + 1
            colour = _mix(self.sky_top, self.haze, (i / steps) ** 1.3)
            canvas.polygon([(0, top), (self.width, top), (self.width, bottom), (0, bottom)], SKY, colour)
        x = -50.0 * self.unit
        while x < self.width:  # a far skyline
            wide, tall = r.uniform(40, 150) * self.unit, r.uniform(10, 190) * self.unit
            colour = self.air(_wall_colour(r), r.uniform(0.5, 1.3) * self.visibility)
            if r.chance(0.8):
                top = self.horizon - tall
                canvas.polygon(
                    [(x, top), (x + wide, top), (x + wide, self.horizon + 2), (x, self.horizon + 2)], BUILDING, colour
                )
                step = r.uniform(9, 16) * self.unit
                rows, columns = int(tall / step), int(wide / step)
                for row in range(rows):
                    for column in range(columns):
                        if r.chance(0.7):
                            cx, cy = x + (column + 0.5) * step, top + (row + 0.6) * step
                            half = step * 0.25
                            canvas.polygon(
                                [
                                    (cx - half, cy - half),
                                    (cx + half, cy - half),
                                    (cx + half, cy + half),
                                    (cx - half, cy + half),
                                ],
                                None,
                                _shade(colour, r.uniform(0.78, 0.95)),
                            )
                if r.chance(0.45):  # an antenna
                    at, up = x + wide * r.uniform(0.2, 0.8), r.uniform(25, 80) * self.unit
                    canvas.line([(at, top), (at, top - up)], 1.5 * self.unit, POLE, _shade(colour, 0.7))
                    for k in range(1, 4):
                        y, half = top - up * k / 3.2, up * 0.12
                        canvas.line([(at - half, y), (at + half, y)], self.unit, POLE, _shade(colour, 0.7))
            x += wide * r.uniform(0.7, 1.4)
        for _ in range(r.integer(10, 40)):  # far trees
            far = r.uniform(0.4, 1.2) * self.visibility
            cx, size = r.uniform(0, self.width), r.uniform(12, 50) * self.unit
            self.foliage(cx, self.horizon - size * 0.3, size * r.uniform(1, 2), size * 0.7, far, 30)

    def draw_ground(self) -> None:
        r, canvas = self.random, self.canvas
        pavement: Colour = (r.uniform(130, 190), r.uniform(130, 180), r.uniform(125, 175))
        asphalt_grey = r.uniform(70, 135)
        asphalt: Colour = (asphalt_grey, asphalt_grey * r.uniform(0.97, 1.03), asphalt_grey * r.uniform(0.95, 1.08))
        canvas.polygon(
            [(0, self.horizon), (self.width, self.horizon), (self.width, self.height), (0, self.height)],
            GROUND,
            self.air(pavement, 60),
        )
        far = 400.0
        bounds = [3.0, 6, 8, 11, 15, 20, 28, 40, 60, 100, far]
        for near, beyond in zip(bounds[-2::-1], bounds[:0:-1], strict=True):
            wide = 60.0 + beyond
            self.quad(
                [(-wide, 0, near), (wide, 0, near), (wide, 0, beyond), (-wide, 0, beyond)],
                GROUND,
                self.air(pavement, near),
            )
            self.quad(
                [(-self.road, 0, near), (self.road, 0, near), (self.road, 0, beyond), (-self.road, 0, beyond)],
                GROUND,
                self.air(asphalt, near),
            )
        slab = r.uniform(0.6, 1.4)
        z = 4.0
        while z < 45:  # joints between slabs: thin dark lines that are ground
            for side in (-1, 1):
                ends = [self.project(side * self.road, 0, z), self.project(side * self.facade, 0, z)]
                canvas.line(ends, 1.0, None, self.air(_shade(pavement, 0.8), z))
            z += slab
        for side in (-1, 1):
            kerb = self.air(_shade(pavement, 1.15), 15)
            self.quad(
                [
                    (side * self.road, 0, 3),
                    (side * (self.road + 0.2), 0, 3),
                    (side * (self.road + 0.2), 0, far),
                    (side * self.road, 0, far),
                ],
                GROUND,
                kerb,
            )
        for _ in range(r.integer(3, 10)):  # patches and cracks in the asphalt
            x, z, wide, long = (
                r.uniform(-self.road, self.road),
                r.uniform(5, 40),
                r.uniform(0.3, 1.6),
                r.uniform(0.5, 5),
            )
            x = min(max(x, wide - self.road), self.road - wide)
            patch = self.air(_shade(asphalt, r.uniform(0.75, 1.2)), z)
            self.quad(
                [(x - wide, 0, z), (x + wide, 0, z), (x + wide, 0, z + long), (x - wide, 0, z + long)], GROUND, patch
            )
        for _ in range(r.integer(2, 6)):
            x, z = r.uniform(-self.road, self.road), r.uniform(5, 25)
            crack = [self.project(x, 0, z)]
            for _ in range(8):
                x, z = min(max(x + 0.5 * r.bell(), -self.road), self.road), z + r.uniform(-0.1, 0.8)
                crack.append(self.project(x, 0, max(z, 4)))
            canvas.line(crack, 1.0, None, self.air(_shade(asphalt, 0.65), z))

    def draw_markings(self) -> None:
        r = self.random
        yellow = r.chance(0.25)
        base: Colour = (225, 190, 90) if yellow else (r.uniform(205, 245),) * 3  # type: ignore[assignment]
        wear = r.uniform(0.8, 1.0)

        def stripe(x: float, z0: float, z1: float, half: float) -> None:
            colour = _shade(self.air(base, z0), wear * r.uniform(0.9, 1.0))
            near, far = self.project(x, 0, z0), self.project(x, 0, z1)
            if self.pixels(half, z0) * 2 < 1.5:  # a polygon thinner than a pixel would vanish
                self.canvas.line([near, far], 1.0, MARKING, colour)
                return
            self.quad([(x - half, 0, z0), (x + half, 0, z0), (x + half, 0, z1), (x - half, 0, z1)], MARKING, colour)

        lanes = r.integer(1, 4)
        period, dash, half = r.uniform(3, 7), r.uniform(0.45, 0.7), r.uniform(0.035, 0.075)
        for lane in range(lanes):
            x = self.road * (2 * (lane + 1) / (lanes + 1) - 1)
            z = r.uniform(3, 3 + period)
            while z < 120:
                stripe(x, z, z + period * dash, half)
                z += period
        if r.chance(0.8):
            edge = self.road - r.uniform(0.25, 0.6)
            for side in (-1, 1):
                z = 3.0
                while z < 140:
                    stripe(side * edge, z, z * 1.25 + 0.1, half)
                    z *= 1.25
        for _ in range(r.integer(1, 3)):  # zebra crossings
            z, long, wide = r.uniform(7, 45), r.uniform(2, 3.5), r.uniform(0.35, 0.6)
            x = -self.road + wide
            while x < self.road - wide:
                stripe(x, z, z + long, wide / 2)
                x += 2 * wide
        for _ in range(r.integer(1, 4)):  # hatching, parking bays
            side, z0 = (-1 if r.chance(0.5) else 1), r.uniform(6, 30)
            for k in range(r.integer(4, 10)):
                z = z0 + 1.1 * k
                a, b = self.project(side * self.road, 0, z), self.project(side * (self.road - 1.6), 0, z + 0.8)
                self.canvas.line([a, b], max(1.0, self.pixels(0.035, z)), MARKING, self.air(_shade(base, wear), z))

    # --- objects ------------------------------------------------------------------------------------------------

    def add_buildings(self) -> None:
        r = self.random
        for side in (-1, 1):
            z = r.uniform(2, 9)
            while z < 110:
                long, tall = r.uniform(6, 20), r.uniform(4.5, 19)
                style = _Random(r.integer(0, 1 << 30), 1)
                if r.chance(0.83):
                    self.add(z + long, self.building, side, z, z + long, tall, style)
                elif r.chance(0.8):
                    for _ in range(r.integer(1, 4)):
                        self.add_tree(side * (self.facade + r.uniform(1, 6)), z + r.uniform(0.2, 1) * long)
                z += long + (r.uniform(2, 12) if r.chance(0.4) else 0.05)

    def building(self, side: int, z0: float, z1: float, tall: float, r: _Random) -> None:
        x, z0 = side * self.facade, max(z0, _NEAR)
        if z1 <= z0 + 0.5:
            return
        wall = _wall_colour(r)
        lit = 1.0 if side * self.sun[0] > 0 else 0.72
        deep = x + side * r.uniform(8, 20)
        glass: Colour = (r.uniform(35, 120), r.uniform(50, 130), r.uniform(60, 150))
        floor, bay = r.uniform(2.7, 3.6), r.uniform(1.5, 3.2)
        pane_h, pane_w = r.uniform(0.4, 0.65), r.uniform(0.35, 0.75)
        bars, courses, balconies = r.integer(0, 3), r.chance(0.4), r.chance(0.35)

        # shadow on the ground
        sx, sz = self.sun[0] * tall, self.sun[1] * tall
        ground = [(x, z0), (x, z1), (x + sx, z1 + sz), (x + sx, z0 + sz)]
        if side * sx < 0:
            self.canvas.shadow([self.project(a, 0, max(b, _NEAR)) for a, b in ground])

        # the front end of the block, then the side along the street
        self.quad(
            [(x, 0, z0), (deep, 0, z0), (deep, tall, z0), (x, tall, z0)],
            BUILDING,
            self.air(_shade(wall, 1.25 - 0.4 * lit), z0),
        )
        steps = max(1, int((z1 - z0) / 4))
        for k in range(steps - 1, -1, -1):  # in slices, so that haze grows with distance
            a, b = z0 + (z1 - z0) * k / steps, z0 + (z1 - z0) * (k + 1) / steps
            self.quad([(x, 0, a), (x, 0, b), (x, tall, b), (x, tall, a)], BUILDING, self.air(_shade(wall, lit), a))
        if courses:
            y = 0.5
            while y < tall:
                line = [self.project(x, y, z0), self.project(x, y, z1)]
                self.canvas.line(line, 1.0, None, self.air(_shade(wall, lit * 0.86), (z0 + z1) / 2))
                y += 0.5
        for face in ("front", "street"):
            first, last = (z0, z1) if face == "street" else (0.0, abs(deep - x))

            def at(u: float, y: float, face: str = face) -> tuple[float, float, float]:
                return (x, y, u) if face == "street" else (x + side * u, y, z0)

            columns, rows = int((last - first) / bay), int((tall - 0.4) / floor)
            for row in range(rows):
                for column in range(columns):
                    u0 = first + (column + (1 - pane_w) / 2) * bay
                    u1, y0 = u0 + bay * pane_w, row * floor + floor * (1 - pane_h) * 0.6
                    y1 = y0 + floor * pane_h
                    z = u0 if face == "street" else z0
                    if self.pixels(y1 - y0, z) < 3:
                        continue
                    frame = self.air(_shade(wall, lit * (1.2 if r.chance(0.5) else 0.75)), z)
                    pane = self.air(_mix(glass, self.sky_top, r.uniform(0, 0.45)), z)
                    if r.chance(0.06):
                        pane = self.air((245, 215, 140), z)
                    e = 0.08
                    self.quad(
                        [at(u0 - e, y0 - e), at(u1 + e, y0 - e), at(u1 + e, y1 + e), at(u0 - e, y1 + e)], None, frame
                    )
                    self.quad([at(u0, y0), at(u1, y0), at(u1, y1), at(u0, y1)], None, pane)
                    for k in range(bars):  # glazing bars: thin, and building
                        u = u0 + (u1 - u0) * (k + 1) / (bars + 1)
                        self.canvas.line(
                            [self.project(*at(u, y0)), self.project(*at(u, y1))],
                            max(1.0, self.pixels(0.03, z)),
                            None,
                            frame,
                        )
                    if balconies and face == "street" and row > 0 and z < 40 and (row + column) % 2:
                        self.railing([at(u0 - 0.2, y0 - 0.3), at(u1 + 0.2, y0 - 0.3)], 0.8, 0.16, (60, 62, 66))
        roof = self.air(_shade(wall, 0.55), z0)
        self.canvas.line(
            [self.project(x, tall, z0), self.project(x, tall, z1)],
            max(1.0, self.pixels(0.25, (z0 + z1) / 2)),
            BUILDING,
            roof,
        )
        self.canvas.line(
            [self.project(x, tall, z0), self.project(deep, tall, z0)], max(1.0, self.pixels(0.25, z0)), BUILDING, roof
        )
        for _ in range(r.integer(0, 4)):  # antennas
            z, up = z0 + (z1 - z0) * r.uniform(0.05, 0.95), r.uniform(1, 3.2)
            tint = self.air((70, 70, 74), z)
            mast = max(1.0, self.pixels(0.03, z))
            self.canvas.line([self.project(x, tall, z), self.project(x, tall + up, z)], mast, POLE, tint)
            for k in range(1, 4):
                y = tall + up * (0.5 + 0.15 * k)
                self.canvas.line(
                    [self.project(x - 0.5, y, z), self.project(x + 0.5, y, z)], max(1.0, mast * 0.6), POLE, tint
                )

    def railing(
        self, ends: list[tuple[float, float, float]], tall: float, gap: float, colour: Colour, cross: bool = False
    ) -> None:
        """A fence between two world points: rails along it, bars or a lattice between them; 1 to 3 pixels each."""
        (xa, ya, za), (xb, yb, zb) = ends
        za, zb = max(za, _NEAR), max(zb, _NEAR)

        def at(share: float, up: float) -> tuple[Point, float]:
            z = za + (zb - za) * share
            return self.project(xa + (xb - xa) * share, ya + (yb - ya) * share + up, z), z

        length = math.hypot(xb - xa, zb - za)
        pieces = max(1, int(length / 2))
        for k in range(pieces):
            for up in (0.08 * tall, tall):
                (p, z), (q, _) = at(k / pieces, up), at((k + 1) / pieces, up)
                self.canvas.line(
                    [p, q], min(3.5 * self.unit, max(1.0, self.pixels(0.028, z))), FENCE, self.air(colour, z)
                )
        share, last = 0.0, -1e9
        while share <= 1:
            foot, z = at(share, 0.0)
            room = 5.5 * self.unit
            if abs(foot[0] - last) >= room or tall * self.focal / z < 12 * self.unit:
                width = min(3 * self.unit, max(1.0, self.pixels(0.022, z)))
                if cross:
                    lean = min(1.0, share + tall * 0.6 / length)
                    self.canvas.line([foot, at(lean, tall)[0]], width, FENCE, self.air(colour, z))
                    self.canvas.line([at(share, tall)[0], at(lean, 0.0)[0]], width, FENCE, self.air(colour, z))
                else:
                    self.canvas.line([foot, at(share, tall)[0]], width, FENCE, self.air(colour, z))
                last = foot[0]
            share += gap / length

    def add_fences(self) -> None:
        r = self.random
        for side in (-1, 1):
            z = r.uniform(4, 9)
            while z < 55:
                long, tall, gap = r.uniform(5, 14), r.uniform(0.8, 1.3), r.uniform(0.12, 0.22)
                x = side * (self.road + r.uniform(0.25, 0.5)) if r.chance(0.75) else side * (self.facade - 0.2)
                cross = r.chance(0.3)
                colour = (
                    (self.green if r.chance(0.3) else (r.uniform(30, 90),) * 3) if r.chance(0.7) else (215, 215, 210)
                )
                if r.chance(0.72):
                    # in short pieces, so that whoever stands behind or before it is painted in the right order
                    pieces = int(long / 2.5) + 1
                    for k in range(pieces):
                        a, b = z + long * k / pieces, z + long * (k + 1) / pieces
                        self.add(
                            (a + b) / 2,
                            self.railing,
                            [(x, 0.0, a), (x, 0.0, b)],
                            tall,
                            gap * (1.6 if cross else 1),
                            colour,
                            cross,
                        )
                    foot = [self.project(x, 0, z), self.project(x, 0, z + long)]
                    cast = [
                        self.project(x + self.sun[0] * tall, 0, max(z + self.sun[1] * tall, _NEAR)),
                        self.project(x + self.sun[0] * tall, 0, max(z + long + self.sun[1] * tall, _NEAR)),
                    ]
                    self.canvas.shadow(cast, 1.5 * self.unit)
                    self.canvas.shadow(foot, 1.5 * self.unit)
                z += long + r.uniform(0, 6)

    def add_poles(self) -> None:
        r = self.random
        for side in (-1, 1):
            z, spacing, tall = r.uniform(6, 14), r.uniform(9, 20), r.uniform(5.5, 9)
            x = side * (self.road + r.uniform(0.6, 1.2))
            tint: Colour = (r.uniform(50, 150),) * 3  # type: ignore[assignment]
            if r.chance(0.3):
                tint = (r.uniform(90, 130), r.uniform(70, 90), r.uniform(45, 65))
            wires, lamp, last = r.integer(3, 7), r.chance(0.7), None
            while z < 110:
                self.add(z, self.pole, x, z, tall, tint, -side if lamp else 0)
                self.cast(x, z, tall, 0.1)
                if last is not None:
                    for k in range(wires):
                        self.add_cable(
                            (x, tall - 0.25 - 0.3 * k, last), (x, tall - 0.25 - 0.3 * k, z), r.uniform(0.2, 0.7)
                        )
                if r.chance(0.5):  # across the street
                    self.add_cable(
                        (x, tall - 0.1, z),
                        (-side * self.facade, tall - r.uniform(-1, 1.5), z + r.uniform(-3, 6)),
                        r.uniform(0.2, 0.8),
                    )
                last, z = z, z + spacing * r.uniform(0.85, 1.15)
            for _ in range(r.integer(2, 6)):  # road signs
                sx, sz = side * (self.road + r.uniform(0.4, 1.6)), r.uniform(7, 55)
                kind, height = r.integer(0, 3), r.uniform(2, 3)
                self.add(sz, self.sign, sx, sz, height, kind)
                self.cast(sx, sz, 2.3, 0.07)
        for _ in range(r.integer(2, 6)):
            y = r.uniform(6, 11)
            self.add_cable(
                (-self.facade, y, r.uniform(8, 60)), (self.facade, y + r.bell(), r.uniform(8, 60)), r.uniform(0.3, 1.2)
            )

    def cast(self, x: float, z: float, tall: float, wide: float) -> None:
        """The shadow of something upright."""
        tip = self.project(x + self.sun[0] * tall, 0, max(z + self.sun[1] * tall, _NEAR))
        self.canvas.shadow([self.project(x, 0, z), tip], self.pixels(wide, z))

    def pole(self, x: float, z: float, tall: float, colour: Colour, arm: int) -> None:
        tint = self.air(colour, z)
        width = max(1.0, min(8 * self.unit, self.pixels(0.08, z)))
        self.canvas.line([self.project(x, 0, z), self.project(x, tall, z)], width, POLE, tint)
        if width > 3:  # the lit side
            edge = self.pixels(0.03, z)
            foot, top = self.project(x, 0, z), self.project(x, tall, z)
            self.canvas.line([(foot[0] - edge, foot[1]), (top[0] - edge, top[1])], 1.0, None, _shade(tint, 1.3))
        thin = max(1.0, self.pixels(0.05, z))
        self.canvas.line([self.project(x - 0.7, tall - 0.3, z), self.project(x + 0.7, tall - 0.3, z)], thin, POLE, tint)
        if arm:
            reach = [(x + arm * 1.8 * t, tall + 0.7 * math.sin(t * math.pi / 2), z) for t in (0, 0.25, 0.5, 0.75, 1)]
            self.canvas.line([self.project(*p) for p in reach], thin, POLE, tint)
            cx, cy = self.project(*reach[-1])
            self.canvas.ellipse(
                cx,
                cy + thin,
                max(1.5, self.pixels(0.35, z)),
                max(1.0, self.pixels(0.1, z)),
                POLE,
                self.air((225, 222, 205), z),
            )

    def sign(self, x: float, z: float, tall: float, kind: int) -> None:
        self.canvas.line(
            [self.project(x, 0, z), self.project(x, tall, z)],
            max(1.0, min(5 * self.unit, self.pixels(0.06, z))),
            POLE,
            self.air((125, 128, 130), z),
        )
        (cx, cy), size = self.project(x, tall, z), self.pixels(0.3, z)
        red, white, blue = self.air((190, 35, 40), z), self.air((235, 235, 230), z), self.air((35, 75, 170), z)
        if kind == 0:
            self.canvas.ellipse(cx, cy, size, size, POLE, red)
            self.canvas.ellipse(cx, cy, size * 0.72, size * 0.72, None, white)
        elif kind == 1:
            self.canvas.polygon(
                [(cx - size, cy + size * 0.8), (cx + size, cy + size * 0.8), (cx, cy - size * 0.9)], POLE, red
            )
            self.canvas.polygon(
                [(cx - size * 0.6, cy + size * 0.55), (cx + size * 0.6, cy + size * 0.55), (cx, cy - size * 0.5)],
                None,
                white,
            )
        else:
            self.canvas.polygon(
                [(cx - size, cy - size), (cx + size, cy - size), (cx + size, cy + size), (cx - size, cy + size)],
                POLE,
                blue,
            )
            self.canvas.polygon(
                [
                    (cx - size * 0.5, cy - size * 0.2),
                    (cx + size * 0.5, cy - size * 0.2),
                    (cx + size * 0.5, cy + size * 0.2),
                    (cx - size * 0.5, cy + size * 0.2),
                ],
                None,
                white,
            )

    def add_cable(self, a: tuple[float, float, float], b: tuple[float, float, float], sag: float) -> None:
        def draw() -> None:
            points, steps = [], 14
            for k in range(steps + 1):
                t = k / steps
                x, y, z = (p + (q - p) * t for p, q in zip(a, b, strict=True))
                points.append(self.project(x, y - 4 * sag * t * (1 - t), max(z, _NEAR)))
            near = min(a[2], b[2])
            self.canvas.line(
                points,
                min(2.0 * self.unit, max(1.0, self.pixels(0.02, near))),
                POLE,
                self.air((48, 48, 52), near * 0.6),
            )

        self.add(min(a[2], b[2]) + 0.01, draw)

    def add_tree(self, x: float, z: float) -> None:
        r = self.random
        style, tall, bare = _Random(r.integer(0, 1 << 30), 2), r.uniform(3.5, 9), r.chance(0.3)
        if z < 6:
            return
        self.add(z, lambda: self.tree(x, z, tall, bare, style))

    def tree(self, x: float, z: float, tall: float, bare: bool, r: _Random) -> None:
        bark = self.air((r.uniform(60, 100), r.uniform(50, 80), r.uniform(40, 60)), z)
        foot, up = self.project(x, 0, z), self.pixels(tall, z)
        self.cast(x, z, tall, 0.2)

        def grow(px: float, py: float, angle: float, length: float, width: float, depth: int) -> None:
            qx, qy = px + length * math.sin(angle), py - length * math.cos(angle)
            self.canvas.line([(px, py), (qx, qy)], max(1.0, width), VEGETATION, bark)
            if depth:
                for _ in range(2 if r.chance(0.6) else 3):
                    grow(qx, qy, angle + 0.9 * r.bell(), length * r.uniform(0.62, 0.82), width * 0.62, depth - 1)

        grow(
            foot[0],
            foot[1],
            0.06 * r.bell(),
            up * (0.3 if bare else 0.35),
            max(1.0, self.pixels(0.22, z)),
            6 if bare else 2,
        )
        if not bare:
            crown = self.pixels(tall * r.uniform(0.24, 0.36), z)
            self.foliage(foot[0], foot[1] - up * 0.72, crown, crown * r.uniform(0.8, 1.3), z, 520, r)
        spread = tall * 0.25
        cx, cz = x + self.sun[0] * tall * 0.7, z + self.sun[1] * tall * 0.7
        disc = [(cx + spread * math.cos(a / 6 * math.pi), cz + spread * math.sin(a / 6 * math.pi)) for a in range(12)]
        if not bare:
            self.canvas.shadow([self.project(a, 0, max(b, _NEAR)) for a, b in disc])

    def foliage(
        self, cx: float, cy: float, rx: float, ry: float, z: float, count: int, r: _Random | None = None
    ) -> None:
        """A ragged crown: many small leaves of light over clumps of shade, with gaps at the rim."""
        r = r or self.random
        base = _mix(self.green, (r.uniform(60, 150), r.uniform(80, 140), r.uniform(20, 80)), 0.4)
        sun = -1 if self.sun[0] > 0 else 1
        for k in range(count):
            clump = k < count // 4
            a, d = r.uniform(0, 2 * math.pi), math.sqrt(r.uniform(0, 1)) * (0.8 if clump else r.uniform(0.8, 1.12))
            dx, dy = d * math.cos(a), d * math.sin(a)
            size = r.uniform(0.1, 0.24) if clump else r.uniform(0.02, 0.065)
            light = 0.82 - 0.28 * dy + 0.18 * sun * dx + 0.2 * r.bell()
            self.canvas.ellipse(
                cx + dx * rx,
                cy + dy * ry,
                max(1.0, size * rx),
                max(1.0, size * ry),
                VEGETATION,
                self.air(_shade(base, max(0.3, light)), z),
            )

    def add_plants(self) -> None:
        r = self.random
        for _ in range(r.integer(6, 16)):
            side = -1 if r.chance(0.5) else 1
            self.add_tree(side * (self.road + r.uniform(0.9, self.facade - self.road)), r.uniform(9, 70))
        for _ in range(r.integer(2, 9)):  # hedges and tufts at the walls
            side, z, wide = (-1 if r.chance(0.5) else 1), r.uniform(7, 50), r.uniform(0.3, 0.9)
            x = side * (self.facade - 0.5)
            style = _Random(r.integer(0, 1 << 30), 3)

            def draw(x: float = x, z: float = z, wide: float = wide, style: _Random = style) -> None:
                px, py = self.project(x, wide * 0.5, z)
                self.foliage(px, py, self.pixels(wide, z), self.pixels(wide * 0.55, z), z, 160, style)

            self.add(z, draw)

    def add_people(self) -> None:
        r = self.random
        for _ in range(r.integer(16, 40)):
            x = r.uniform(self.road + 0.3, self.facade - 0.4) * (-1 if r.chance(0.5) else 1)
            if r.chance(0.15):
                x = r.uniform(-self.road, self.road)
            z, style = r.uniform(9, 45) if r.chance(0.5) else r.uniform(20, 80), _Random(r.integer(0, 1 << 30), 4)
            self.add(z, self.person, x, z, style)
            self.cast(x, z, 1.7, 0.24)

    def person(self, x: float, z: float, r: _Random) -> None:
        px, py = self.project(x, 0, z)
        m = self.pixels(1.0, z) * r.uniform(0.9, 1.08)  # pixels a metre
        coat: Colour = (r.uniform(25, 215), r.uniform(25, 190), r.uniform(30, 200))
        legs: Colour = (r.uniform(25, 110), r.uniform(25, 100), r.uniform(30, 120))
        skin: Colour = _mix((95, 62, 45), (235, 195, 170), r.uniform(0, 1))
        stride = r.uniform(0.02, 0.28)
        for foot in (-1, 1):
            self.canvas.line(
                [(px + 0.05 * foot * m, py - 0.85 * m), (px + foot * stride * m, py)],
                max(1.0, 0.13 * m),
                PERSON,
                self.air(_shade(legs, 1 - 0.1 * foot), z),
            )
        lean = r.uniform(-0.04, 0.04)
        body = [(-0.2 + lean, 1.42), (0.2 + lean, 1.42), (0.17, 0.8), (-0.17, 0.8)]
        if r.chance(0.3):
            body = [(-0.2 + lean, 1.42), (0.2 + lean, 1.42), (0.27, 0.5), (-0.27, 0.5)]
        self.canvas.polygon([(px + a * m, py - b * m) for a, b in body], PERSON, self.air(coat, z))
        for arm in (-1, 1):
            hand = r.uniform(0.15, 0.38)
            self.canvas.line(
                [(px + (0.19 * arm + lean) * m, py - 1.38 * m), (px + hand * arm * m, py - 0.85 * m)],
                max(1.0, 0.09 * m),
                PERSON,
                self.air(_shade(coat, 0.85), z),
            )
        self.canvas.ellipse(
            px + lean * m, py - 1.6 * m, max(1.0, 0.11 * m), max(1.0, 0.14 * m), PERSON, self.air(skin, z)
        )
        hair = _mix((25, 20, 18), (165, 140, 105), r.uniform(0, 1))
        self.canvas.ellipse(px + lean * m, py - 1.68 * m, 0.1 * m, 0.07 * m, None, self.air(hair, z))


def _wall_colour(r: _Random) -> Colour:
    kind, light = r.integer(0, 5), r.uniform(0.65, 1.1)
    palette: tuple[Colour, ...] = ((172, 98, 74), (196, 176, 142), (150, 152, 158), (214, 206, 196), (128, 140, 118))
    return _shade(_mix(palette[kind], (r.uniform(90, 220), r.uniform(90, 200), r.uniform(80, 190)), 0.3), light)


# grain of each class: noise of 1, 3, 12 and 90 pixels, in grey levels
_GRAIN = np.array(
    [
        (1, 0, 1, 10),
        (4, 6, 6, 8),
        (9, 7, 5, 9),
        (8, 9, 6, 5),
        (10, 20, 12, 4),
        (4, 3, 2, 3),
        (4, 3, 2, 3),
        (5, 6, 4, 2),
    ],
    dtype=np.float32,
)


def _finish(street: _Street, seed: int) -> np.ndarray:
    """Light, texture, blur and sensor noise: the drawing becomes a photograph of sorts."""
    height, width = street.height, street.width
    r = _Random(seed, 9)
    labels = np.asarray(street.canvas.labels)
    image = np.asarray(street.canvas.colours.reduce(2), dtype=np.float32)

    grain = np.zeros((height, width), np.float32)
    for k, step in enumerate((1, 3, 12, 90)):
        step = max(1, round(step * max(street.unit, 0.34)))
        field = r.field(-(-height // step) + 1, -(-width // step) + 1)
        if step > 1:
            field = np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))
        grain += np.ascontiguousarray(field[:height, :width]) * _GRAIN[:, k][labels]
    image += grain[..., None]

    shadow = np.asarray(street.canvas.shadows.filter(ImageFilter.BoxBlur(1.2 * street.unit)), dtype=np.float32)
    strength = r.uniform(0.15, 0.45) / 255
    light = np.where((labels == GROUND) | (labels == MARKING), 1 - strength * shadow, np.float32(1))
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light *= 1 + r.uniform(-0.12, 0.12) * across + r.uniform(-0.08, 0.08) * down
    light *= 1 - r.uniform(0.04, 0.14) * (across * across + down * down)
    image *= (light * r.uniform(0.82, 1.12))[..., None]
    image *= np.array([r.uniform(0.94, 1.06), 1, r.uniform(0.94, 1.06)], dtype=np.float32)

    soft = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(r.uniform(0.3, 0.7) * street.unit)
    )
    noisy = np.asarray(soft, dtype=np.float32)
    spread = r.uniform(2, 8)
    for channel in range(3):
        noisy[..., channel] += r.field(height, width) * spread
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def generate_scene(size: tuple[int, int] = (1024, 2048), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a street scene and its exact labels.

    Args:
        size: (H, W), each at least 256.
        seed: the scene; the same seed and size give the same arrays. (Pillow draws the shapes: another version of it
            may put the odd edge pixel elsewhere.)

    Returns:
        image (H, W, 3) uint8 RGB, and labels (H, W) uint8, indices into ``SCENE_CLASSES``.

    Raises:
        ValueError: ``size`` is too small, or ``seed`` negative.
    """
    height, width = size
    if min(height, width) < _MIN_SIDE:
        raise ValueError(f"size: expected (H, W) of at least {_MIN_SIDE} x {_MIN_SIDE}, got {height} x {width}")
    if seed < 0:
        raise ValueError(f"seed: expected a whole number of 0 or more, got {seed}")
    street = _Street((int(height), int(width)), int(seed))
    street.draw_backdrop()
    street.draw_ground()
    street.draw_markings()
    street.add_buildings()
    street.add_plants()
    street.add_fences()
    street.add_poles()
    street.add_people()
    street.paint()
    return _finish(street, int(seed)), np.array(street.canvas.labels)


def write_dataset(
    folder: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: tuple[int, int] = (1024, 2048),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write scenes as a data set folder that ``magnet train`` reads.

    Args:
        folder: gets ``images/*.png``, ``labels/*.png``, ``classes.txt`` and one ``<split>.txt`` of file stems a split.
        counts: scenes of each split, as ``{"train": 40, "val": 4, "test": 8}``. No two scenes share a seed.
        size: (H, W) of every scene.
        seed: the first scene's seed; the others follow it.

    Raises:
        MagNetError: the folder cannot be written to. ValueError: a count is negative, or ``size`` too small.
    """
    from tqdm import tqdm

    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"counts: expected 0 or more scenes for '{split}', got {count}")
    root = check_output_dir(folder)
    for name in ("images", "labels"):
        check_output_dir(root / name)
    bar = tqdm(total=sum(counts.values()), desc="scenes", unit="scene", disable=not progress)
    number = seed
    for split, count in counts.items():
        stems = []
        for _ in range(count):
            image, labels = generate_scene(size, number)
            stem = f"scene_{number:06d}"
            for kind, array in (("images", image), ("labels", labels)):
                with atomic_path(root / kind / f"{stem}.png") as path:
                    Image.fromarray(array).save(path, compress_level=1)
            stems.append(stem)
            number += 1
            bar.update()
        with atomic_path(root / f"{split}.txt") as path:
            path.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    with atomic_path(root / "classes.txt") as path:
        path.write_text("".join(f"{i} {c.name}\n" for i, c in enumerate(SCENE_CLASSES)), encoding="utf-8")
    bar.close()
    return root
