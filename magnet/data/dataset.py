"""What training and evaluation need of a set of labelled images."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from magnet.images.rasters.input_settings import InputSettings

__all__ = ["IGNORE_INDEX", "Colour", "Dataset", "colours_of", "inputs_of"]

IGNORE_INDEX = 255
Colour = tuple[int, int, int]  # RGB, 0..255


class Dataset(Protocol):
    """Labelled images by number. Picklable and cheap to make, so that every loader worker can have its own.

    Optional are: ``colours``, the RGB of each class where the data set has official ones (read it with ``colours_of``);
    ``size(index)``, (H, W) without decoding; and ``varies``, True where ``load(index, rng)`` draws among several labels
    of an image; and ``inputs``, an ``InputSettings``, where images are not of 8-bit RGB (read it with ``inputs_of``).
    """

    class_names: list[str]

    @property
    def num_classes(self) -> int: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and labels (H, W) uint8, 255 where they are to be ignored.

        The image is (H, W, 3) uint8 RGB; with ``inputs`` (H, W, channels), uint8 or float32 in [0, 1].
        """
        ...


def inputs_of(dataset: Dataset) -> InputSettings:
    """How the images are read: by default 8-bit RGB."""
    return getattr(dataset, "inputs", InputSettings())


def colours_of(dataset: Dataset) -> list[Colour] | None:
    """The official RGB of each class, or None where the data set has none."""
    return getattr(dataset, "colours", None)
