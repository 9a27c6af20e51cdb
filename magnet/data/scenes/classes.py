"""The classes of the generated scenes."""

from __future__ import annotations

from typing import NamedTuple


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
