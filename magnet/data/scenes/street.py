"""The street that the objects of a scene stand on: layout, camera, light and the order of painting."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from magnet.data.scenes.canvas import Canvas, Point
from magnet.data.scenes.colours import Paint, mix
from magnet.data.scenes.random_numbers import Random

NEAR = 3.0  # metres: nothing is drawn closer to the camera

Position = tuple[float, float, float]


class Street:
    """Layout, camera and palette of one scene. World: x right, y up, z ahead, in metres; the ground is y = 0."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self.height, self.width = size
        self.random = Random(seed, 0)
        self.canvas = Canvas(size)
        r = self.random
        self.unit = self.height / 1024  # sizes in pixels are thought of at 1024 rows
        self.focal = self.height * r.uniform(0.85, 1.15)
        self.eye = r.uniform(2.2, 3.6)
        self.horizon = self.height * r.uniform(0.44, 0.56)
        self.vanish = self.width * r.uniform(0.36, 0.64)
        self.road = r.uniform(3.6, 5.6)  # half widths, from the middle of the road
        self.facade = self.road + r.uniform(2.6, 4.6)
        self.sun = (r.uniform(-1.4, 1.4), r.uniform(-0.5, 0.9))  # where the shadow of one metre falls, (x, z)
        level = r.uniform(120, 225)
        self.sky_top: Paint = (
            level * r.uniform(0.35, 0.95),
            level * r.uniform(0.7, 1.0),
            level * r.uniform(1.0, 1.15),
        )
        pale = r.uniform(180, 228)
        self.haze: Paint = (pale * r.uniform(0.96, 1.06), pale * r.uniform(0.97, 1.02), pale * r.uniform(0.94, 1.06))
        self.visibility = r.uniform(70, 260)
        self.green: Paint = (r.uniform(55, 125), r.uniform(85, 140), r.uniform(30, 75))
        self._objects: list[tuple[float, Callable[[], None]]] = []

    # --- camera

    def project(self, x: float, y: float, z: float) -> Point:
        z = max(z, NEAR)
        return self.vanish + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z

    def pixels(self, metres: float, z: float) -> float:
        return self.focal * metres / z

    def air(self, colour: Paint, z: float) -> Paint:
        """The colour as seen through z metres of haze."""
        return mix(colour, self.haze, 1 - math.exp(-z / self.visibility))

    # --- shapes in the world

    def quad(self, corners: list[Position], label: int | None, colour: Paint) -> None:
        self.canvas.polygon([self.project(*corner) for corner in corners], label, colour)

    def flat(self, x0: float, x1: float, z0: float, z1: float, label: int | None, colour: Paint) -> None:
        """A rectangle on the ground."""
        self.quad([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], label, colour)

    def line(self, points: list[Position], width: float, label: int | None, colour: Paint) -> None:
        """A line as wide as ``width`` pixels."""
        self.canvas.line([self.project(*point) for point in points], width, label, colour)

    def cast(self, x: float, z: float, tall: float, wide: float) -> None:
        """The shadow of something upright."""
        tip = self.project(x + self.sun[0] * tall, 0, z + self.sun[1] * tall)
        self.canvas.shadow([self.project(x, 0, z), tip], self.pixels(wide, z))

    # --- painting back to front

    def add(self, z: float, draw: Callable[..., None], *arguments: object) -> None:
        """Call ``draw(street, *arguments)`` at a depth, once everything farther away is there."""
        self._objects.append((z, partial(draw, self, *arguments)))

    def paint(self) -> None:
        for _, draw in sorted(self._objects, key=lambda item: -item[0]):
            draw()
