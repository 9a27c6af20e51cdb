"""One scene from a seed."""

from __future__ import annotations

import numpy as np

from magnet.bounds import MAX_SCENE_PIXELS, MIN_SCENE_SIDE, check_pixels
from magnet.data.scenes.backdrop import draw_backdrop
from magnet.data.scenes.buildings import add_buildings
from magnet.data.scenes.fences import add_fences
from magnet.data.scenes.ground import draw_ground
from magnet.data.scenes.markings import draw_markings
from magnet.data.scenes.people import add_people
from magnet.data.scenes.photograph import photograph
from magnet.data.scenes.poles import add_poles
from magnet.data.scenes.street import Street
from magnet.data.scenes.vegetation import add_plants


def generate_scene(size: tuple[int, int] = (1024, 2048), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a street scene and its exact labels.

    Args:
        size: (H, W), each at least 256, of at most 2**28 pixels.
        seed: the scene; the same seed and size give the same arrays. (Pillow draws the shapes: another version of it
            may put the odd edge pixel elsewhere.)

    Returns:
        image (H, W, 3) uint8 RGB, and labels (H, W) uint8, indices into ``SCENE_CLASSES``.

    Raises:
        ValueError: ``size`` is too small or too large, or ``seed`` negative.
    """
    height, width = size
    if min(height, width) < MIN_SCENE_SIDE:
        raise ValueError(
            f"size: expected (H, W) of at least {MIN_SCENE_SIDE} x {MIN_SCENE_SIDE}, got {height} x {width}"
        )
    check_pixels((height, width), MAX_SCENE_PIXELS)
    if seed < 0:
        raise ValueError(f"seed: expected a whole number of 0 or more, got {seed}")
    street = Street((int(height), int(width)), int(seed))
    draw_backdrop(street)
    draw_ground(street)
    draw_markings(street)
    add_buildings(street)
    add_plants(street)
    add_fences(street)
    add_poles(street)
    add_people(street)
    street.paint()
    return photograph(street, int(seed)), np.array(street.canvas.labels)
