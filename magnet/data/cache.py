"""Images and labels at each scale of the walk, resized once where memory allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magnet.data.dataset import IGNORE_INDEX, Dataset, View
from magnet.data.labels import resize_labels
from magnet.distributed import is_main
from magnet.errors import MagNetError
from magnet.images.resize_pixels import resize_pixels

__all__ = ["ScaleCache", "Scaled"]

Labelled = tuple[np.ndarray, np.ndarray]


class Scaled:
    """One image and its labels at the scales that it is large enough for, from ``ScaleCache.open``."""

    def __init__(self, cache: ScaleCache, index: int, whole: Labelled | None, view: View | None = None) -> None:
        self._cache, self.index, self._whole, self._view = cache, index, whole, view

    @property
    def scales(self) -> list[int]:
        return self._cache.scales_of(self.index)

    def get(self, scale: int) -> Labelled:
        """Image (h, w, C), as the data set gives it, and labels (h, w) uint8 at a scale."""
        if self._view is not None:
            return self._view.at(self._cache.sizes[scale])
        if self._whole is None:
            kept = self._cache.kept(self.index, scale)
            if kept is not None:
                return kept
            self._whole = self._cache.load(self.index)
        return _resized(self._whole, self._cache.sizes[scale])


class ScaleCache:
    """Images and labels of a data set, resized to each scale.

    ``preload`` reads images and keeps their copies until ``limit_mb`` is full; where all fit, no file is read again.
    What it kept stays, and nothing is added later: under random access that serves as many reads as keeping the latest
    would, and loader workers forked from this process share the copies instead of making their own. An image that was
    not kept is decoded at each use.

    Args:
        dataset: the labelled images. Where its ``varies`` is true, ``load(index, rng)`` draws among the labels of an
            image, and nothing is kept. What it reads ``by_window`` is not kept either, but read at the size of a scale.
        sizes: (H, W) of each scale. An image smaller than a scale is not used there; the first scale always is.
        limit_mb: memory for the copies.
    """

    def __init__(self, dataset: Dataset, sizes: Sequence[tuple[int, int]], limit_mb: int = 4096) -> None:
        self.dataset = dataset
        self.sizes = list(sizes)
        self._limit = limit_mb * 2**20
        self._varies = bool(getattr(dataset, "varies", False))
        self._kept: dict[tuple[int, int], Labelled] = {}
        self._usable: dict[int, list[int]] = {}
        self._last: Scaled | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies: a process that is not forked would get all of them through a pipe."""
        return {**self.__dict__, "_kept": {}, "_last": None}

    def __len__(self) -> int:
        return len(self.dataset)

    def scales_of(self, index: int) -> list[int]:
        """The scales that the image is large enough for."""
        if index not in self._usable:
            size = getattr(self.dataset, "size", None)
            if size is not None:
                self._measure(index, *size(index))
            else:
                self.load(index)
        return self._usable[index]

    def open(self, index: int, rng: np.random.Generator | None = None) -> Scaled:
        """One image at all its scales. ``rng`` draws among its labels, where there are several of them, and where in a
        raster a view lies."""
        if self._by_window(index):
            return Scaled(self, index, None, self.dataset.view(index, rng))  # type: ignore[attr-defined]
        return Scaled(self, index, self.load(index, rng) if self._varies and rng is not None else None)

    def _by_window(self, index: int) -> bool:
        by_window = getattr(self.dataset, "by_window", None)
        return by_window is not None and bool(by_window(index))

    def get(self, index: int, scale: int) -> Labelled:
        """Image (h, w, C), as the data set gives it, and labels (h, w) uint8 at a scale."""
        if self._last is None or self._last.index != index:
            self._last = self.open(index)
        return self._last.get(scale)

    def seen(self, index: int) -> np.ndarray:
        """(h, w, 3) uint8 pixels of an image at the first scale, those without a value left out."""
        if self._by_window(index):
            view: View = self.dataset.view(index, None)  # type: ignore[attr-defined]
            return view.seen(self.sizes[0])
        return self.get(index, 0)[0]

    def kept(self, index: int, scale: int) -> Labelled | None:
        """The copies at a scale, if they are in memory."""
        return self._kept.get((index, scale))

    def load(self, index: int, rng: np.random.Generator | None = None) -> Labelled:
        """Image (H, W, C) and labels (H, W) at full size, from the data set."""
        if self._varies and rng is not None:
            image, labels = self.dataset.load(index, rng)  # type: ignore[call-arg]
        else:
            image, labels = self.dataset.load(index)
        self._measure(index, *labels.shape)
        return image, labels

    def _measure(self, index: int, height: int, width: int) -> None:
        self._usable[index] = [i for i, (h, w) in enumerate(self.sizes) if i == 0 or (h <= height and w <= width)]

    def preload(self) -> None:
        """Look at every image before the work starts, and keep as many as memory is allowed for.

        Where all of them fit, all are read, so that a bad file is found now; else only the sizes of the others are
        (``dataset.size``, where the data set has it), and a bad file among them is found when it is used.

        Raises:
            MagNetError: a bad file, or labels of which no pixel counts.
        """
        from tqdm import tqdm

        used, full, labelled = 0, self._varies, False
        for index in tqdm(range(len(self)), desc="reading data", leave=False, disable=None if is_main() else True):
            viewed = self._by_window(index)
            labelled = labelled or viewed  # views without a label are left out by their data set
            if full or viewed:
                self.scales_of(index)
                continue
            whole = self.load(index)
            labelled = labelled or bool((whole[1] != IGNORE_INDEX).any())
            copies = {(index, scale): _resized(whole, self.sizes[scale]) for scale in self.scales_of(index)}
            used += sum(image.nbytes + labels.nbytes for image, labels in copies.values())
            full = used > self._limit
            if not full:
                self._kept.update(copies)
        if not (labelled or full):
            raise MagNetError(
                f"data: every pixel of '{self.dataset.name(0)}' and the rest of its split is {IGNORE_INDEX} (ignored); "
                "there is nothing to learn from or to compare with"
            )


def _resized(whole: Labelled, size: tuple[int, int]) -> Labelled:
    image, labels = whole
    if labels.shape != tuple(size):
        image = resize_pixels(image, size)
    return image, resize_labels(labels, size)
