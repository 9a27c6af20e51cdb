"""Street scenes drawn from a seed, with exact labels: something to try, train and test on without any download.

A scene is a small 3-D street seen through a pinhole camera and painted back to front. Labels are rasterised at the
exact resolution; the picture is drawn at twice that, reduced, then lit, textured, blurred and given sensor noise.
Poles, cables, fences, bare branches and far lane markings are 1 to 4 pixels wide at 1024 x 2048: a prediction made at
an eighth of the resolution cannot hold them. Shadows, window bars, brick courses and clothes share their colours.
"""

from __future__ import annotations

from magnet.data.scenes.classes import (
    BUILDING,
    FENCE,
    GROUND,
    MARKING,
    PERSON,
    POLE,
    SCENE_CLASSES,
    SKY,
    VEGETATION,
    SceneClass,
)
from magnet.data.scenes.dataset import write_dataset
from magnet.data.scenes.generate import generate_scene

__all__ = [
    "BUILDING",
    "FENCE",
    "GROUND",
    "MARKING",
    "PERSON",
    "POLE",
    "SCENE_CLASSES",
    "SKY",
    "VEGETATION",
    "SceneClass",
    "generate_scene",
    "write_dataset",
]
