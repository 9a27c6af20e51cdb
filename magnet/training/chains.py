"""What the refiner learns from: a whole image and, inside it, one patch of each later scale, each inside the last.

So the coarse input of every scale can be what inference feeds there: the map accumulated over all earlier scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from magnet.data import IGNORE_INDEX, ScaleCache
from magnet.images.tensors import normalize, to_tensor
from magnet.training.augment import ColourChange
from magnet.training.config import AugmentConfig

__all__ = ["Chain", "ChainBatch", "ChainSamples", "cropped", "draw_chain"]


class Chain(NamedTuple):
    """One patch of each scale, each inside the one before; the first is the whole image.

    images: (S, C, h, w) normalised, flipped as ``flip`` (upside down, left-right) says; labels: (S, h, w) uint8, not
    flipped; origins: (y, x) of each patch in pixels of its scale; crops: (y, x), in each patch after the first, of the
    part that the loss is taken on, or nothing; name: of the image.
    """

    images: Tensor
    labels: Tensor
    origins: list[tuple[int, int]]
    flip: tuple[bool, bool]
    crops: list[tuple[int, int]]
    name: str


class ChainBatch(NamedTuple):
    """Chains of any depths as tensors. images, labels: of all chains, one after the other; depths: scales of each."""

    images: Tensor
    labels: Tensor
    depths: list[int]
    origins: list[list[tuple[int, int]]]
    flips: list[tuple[bool, bool]]
    crops: list[list[tuple[int, int]]]
    names: list[str]

    def chains(self) -> list[Chain]:
        parts = zip(
            self.images.split(self.depths),
            self.labels.split(self.depths),
            self.origins,
            self.flips,
            self.crops,
            self.names,
            strict=True,
        )
        return [Chain(*part) for part in parts]


def draw_chain(
    rng: np.random.Generator,
    cache: ScaleCache,
    index: int,
    size: tuple[int, int],
    augment: AugmentConfig | None,
    crop: tuple[int, int] | None = None,
) -> Chain:
    """Draw nested patches in one image.

    Args:
        rng: what the chain depends on.
        cache: images at each scale.
        index: the image.
        size: (H, W) of a patch.
        augment: random changes; None: the pixels are as they are, and so are labels that could be drawn.
        crop: (H, W) of the part of each patch that the loss is taken on; None: the whole patch.
    """
    h, w = size
    scaled = cache.open(index, rng if augment else None)
    colour = ColourChange(rng, augment) if augment else None
    flip = (False, False)
    if augment:
        flip = (bool(rng.random() < augment.flip_vertical), bool(rng.random() < augment.flip))
    turned = [dim for dim, wanted in zip((-2, -1), flip, strict=True) if wanted]
    images, labels, origins = [], [], [(0, 0)]
    for scale in scaled.scales:
        image, ids = scaled.get(scale)
        if scale:
            ratio = [image.shape[i] / cache.sizes[scale - 1][i] for i in (0, 1)]
            for _ in range(4):  # another place if this one has next to nothing to learn from
                y, x = (_child(rng, origins[-1][i], size[i], ratio[i], image.shape[i]) for i in (0, 1))
                if (ids[y : y + h : 4, x : x + w : 4] != IGNORE_INDEX).mean() > 0.2:
                    break
            origins.append((y, x))
        y, x = origins[-1]
        pixels = to_tensor(image[y : y + h, x : x + w])
        pixels = normalize(colour(pixels) if colour else pixels)
        images.append(pixels.flip(turned))
        labels.append(torch.from_numpy(ids[y : y + h, x : x + w].copy()))
    crops = [] if crop is None else [_draw_crop(rng, part, crop) for part in labels[1:]]
    return Chain(torch.stack(images), torch.stack(labels), origins, flip, crops, cache.dataset.name(index))


def _draw_crop(rng: np.random.Generator, labels: Tensor, crop: tuple[int, int]) -> tuple[int, int]:
    (height, width), (h, w) = labels.shape, crop
    for _ in range(4):  # another place if this one has next to nothing to learn from
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if (labels[y : y + h, x : x + w] != IGNORE_INDEX).float().mean() > 0.2:
            break
    return y, x


def _child(rng: np.random.Generator, parent: int, length: int, ratio: float, whole: int) -> int:
    """Where a patch starts, so that it lies inside its parent and inside the image."""
    first = min(int(np.ceil(parent * ratio)), whole - length)
    last = max(min(int((parent + length) * ratio) - length, whole - length), first)
    return int(rng.integers(first, last + 1))


class ChainSamples:
    """Chains of images that reach the second scale, evenly over the depths that images reach.

    Images that reach fewer scales may be many more, and must not crowd out the last scale.
    """

    def __init__(
        self,
        caches: Sequence[ScaleCache],
        size: tuple[int, int],
        augment: AugmentConfig,
        crop: tuple[int, int] | None,
    ) -> None:
        self._caches, self._size, self._augment = list(caches), size, augment
        self._crop = None if crop == size else crop
        by_depth: dict[int, list[tuple[int, int]]] = {}
        for c, cache in enumerate(self._caches):
            for i in range(len(cache)):
                by_depth.setdefault(len(cache.scales_of(i)), []).append((c, i))
        self._groups = [by_depth[depth] for depth in sorted(by_depth) if depth > 1]

    def draw(self, rng: np.random.Generator) -> Chain:
        group = self._groups[int(rng.integers(len(self._groups)))] if len(self._groups) > 1 else self._groups[0]
        cache, index = group[int(rng.integers(len(group)))]
        return draw_chain(rng, self._caches[cache], index, self._size, self._augment, self._crop)

    def collate(self, samples: Sequence[Chain]) -> ChainBatch:
        return ChainBatch(
            torch.cat([s.images for s in samples]),
            torch.cat([s.labels for s in samples]),
            [len(s.labels) for s in samples],
            [s.origins for s in samples],
            [s.flip for s in samples],
            [s.crops for s in samples],
            [s.name for s in samples],
        )


def cropped(values: Tensor, chains: Sequence[Chain], scale: int, crop: tuple[int, int] | None) -> Tensor:
    """The parts that the loss is taken on, of (N, ..., h, w) values of the N chains that reach a scale."""
    if crop is None:
        return values
    h, w = crop
    places = [chain.crops[scale - 1] for chain in chains if len(chain.labels) > scale]
    if not places:
        return values[..., :h, :w]
    return torch.stack([part[..., y : y + h, x : x + w] for part, (y, x) in zip(values, places, strict=True)])
