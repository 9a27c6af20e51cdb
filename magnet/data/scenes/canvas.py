"""Rasterising: shapes in pixels become labels, colours and shadows."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from magnet.data.scenes.classes import SKY
from magnet.data.scenes.colours import Paint

Point = tuple[float, float]


class Canvas:
    """Draws each shape twice: its class at the exact resolution, its colour at twice that. Label None: colour only."""

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = size
        self.labels = Image.new("L", (width, height), SKY)
        self.colours = Image.new("RGB", (2 * width, 2 * height))
        self.shadows = Image.new("L", (width, height), 0)
        self._on_labels = ImageDraw.Draw(self.labels)
        self._on_colours = ImageDraw.Draw(self.colours)
        self._on_shadows = ImageDraw.Draw(self.shadows)

    def polygon(self, points: list[Point], label: int | None, colour: Paint) -> None:
        if label is not None:
            self._on_labels.polygon(_whole(points, 1), fill=label)
        self._on_colours.polygon(_whole(points, 2), fill=_bytes(colour))

    def box(self, left: float, top: float, right: float, bottom: float, label: int | None, colour: Paint) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], label, colour)

    def line(self, points: list[Point], width: float, label: int | None, colour: Paint) -> None:
        if label is not None:
            self._on_labels.line(_whole(points, 1), fill=label, width=max(1, round(width)))
        self._on_colours.line(_whole(points, 2), fill=_bytes(colour), width=max(2, round(2 * width)))

    def ellipse(self, x: float, y: float, rx: float, ry: float, label: int | None, colour: Paint) -> None:
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


def _bytes(colour: Paint) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, int(c))) for c in colour)
    return r, g, b
