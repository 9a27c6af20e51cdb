"""What training and evaluation need of a set of labelled images."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from magnet.images.rasters.input_settings import InputSettings

__all__ = ["IGNORE_INDEX", "Colour", "Dataset", "View", "colours_of", "inputs_of", "label_mapping"]

IGNORE_INDEX = 255
Colour = tuple[int, int, int]  # RGB, 0..255


class View(Protocol):
    """A part of an image and its labels, read at the size that is asked for."""

    def at(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, 3) uint8 RGB and labels (h, w) uint8, resized to ``size`` (h, w)."""
        ...

    def seen(self, size: tuple[int, int]) -> np.ndarray:
        """(1, n, 3) uint8 RGB: the pixels of the image at ``size`` (h, w) that hold a value."""
        ...


class Dataset(Protocol):
    """Labelled images by number. Picklable and cheap to make, so that every loader worker can have its own.

    Optional are: ``colours``, the RGB of each class where the data set has official ones (read it with ``colours_of``);
    ``mapping``, the class of each value of its label files, where these are not the same (``label_mapping``);
    ``size(index)``, (H, W) without decoding; ``varies``, True where ``load(index, rng)`` draws among several labels
    of an image; ``view(index, rng)``, a :class:`View` of an image that is not loaded whole, or None, with
    ``by_window(index)``, whether it has one; and ``inputs``, an ``InputSettings``, where images are not of 8-bit RGB
    (read it with ``inputs_of``).
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


def label_mapping(dataset: Dataset) -> dict[int, int] | None:
    """The class of each value of label files, or None where values are classes."""
    return getattr(dataset, "mapping", None)
