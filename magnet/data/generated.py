"""Scenes made by the program instead of files."""

from __future__ import annotations

import numpy as np

from magnet.data import scenes
from magnet.data.dataset import Colour
from magnet.errors import MagNetError

__all__ = ["GeneratedScenes"]


class GeneratedScenes:
    """Scenes of ``magnet.data.scenes``, each made from its own seed: ``first_seed``, ``first_seed + 1``, ..."""

    def __init__(self, count: int, size: tuple[int, int], first_seed: int) -> None:

        if count < 1:
            raise MagNetError(f"data.generated: expected at least one scene in the split, got {count}")
        self.class_names: list[str] = [c.name for c in scenes.SCENE_CLASSES]
        self.colours: list[Colour] = [c.colour for c in scenes.SCENE_CLASSES]
        self._generate = scenes.generate_scene
        self._count, self._size, self._first_seed = count, size, first_seed

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"scene_{self._first_seed + index}"

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self._generate(self._size, self._first_seed + index)
        return np.asarray(image), np.asarray(labels)
