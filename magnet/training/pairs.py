"""The (fine, coarse) pairs that refinement modules merge, from the predictions of a frozen segmenter on chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.devices import autocast
from magnet.networks import build_refiner
from magnet.training.chains import Chain
from magnet.training.config import TrainConfig
from magnet.training.parallel import has_sync_batch_norm
from magnet.walk.networks import sees_image
from magnet.walk.points_by import refine_step_by

__all__ = ["Pair", "PairMaker", "Refiners", "build_refiners"]

_MARGIN = 8  # pixels around what the next scale sees, as the refinement module looks about that far


class Pair(NamedTuple):
    """Two predictions of the same patches, (N, C, h, w) probabilities, and their images (N, channels, h, w)."""

    fine: Tensor
    coarse: Tensor
    image: Tensor

    def seen_by(self, module: nn.Module) -> tuple[Tensor, ...]:
        """The arguments of a refinement module."""
        return self if sees_image(module) else self[:2]


class Refiners(nn.ModuleList):
    """One refinement module for all later scales, or one for each; keys as of a ModuleList."""

    def of(self, scale: int) -> nn.Module:
        """The module of a scale (1 is the first after the coarse one)."""
        return self[min(scale, len(self)) - 1]

    def forward(self, pairs: dict[int, Pair]) -> dict[int, Tensor]:
        """Logits of (fine, coarse) pairs by scale; all in one call, as DistributedDataParallel needs."""
        return {scale: self._refine(scale, pair) for scale, pair in pairs.items()}

    def _refine(self, scale: int, pair: Pair) -> Tensor:
        module = self.of(scale)
        if self.training and not len(pair.fine) and not has_sync_batch_norm(module):
            # other processes have images at this scale, this one has not: its own norms have nothing to learn from
            module.eval()
            logits = module(*pair.seen_by(module))
            module.train()
            return logits  # type: ignore[no-any-return]
        return module(*map(_channels_last, pair.seen_by(module)))  # type: ignore[no-any-return]


def build_refiners(config: TrainConfig, num_classes: int) -> Refiners:
    """Untrained refinement modules: one, or one for each later scale."""
    count = len(config.walk.scales) - 1 if config.refiner.per_scale else 1
    channels = config.data.inputs.channels
    return Refiners(build_refiner(config.refiner.network, num_classes, channels=channels) for _ in range(count))


class PairMaker:
    """Makes the (fine, coarse) pairs of chains, scale by scale."""

    def __init__(
        self, config: TrainConfig, segmenter: nn.Module, sizes: Sequence[tuple[int, int]], device: torch.device
    ) -> None:
        self.config, self.segmenter, self.sizes, self.device = config, segmenter, list(sizes), device
        n = config.walk.n_points
        self.fractions = [n if isinstance(n, float) else min(1.0, n / (h * w)) or 0 for h, w in config.walk.scales]

    @torch.no_grad()
    def predict(self, chains: Sequence[Chain]) -> list[Tensor]:
        """Probabilities (S, C, h, w) of each chain."""
        images = torch.cat([c.images for c in chains]).to(
            self.device, memory_format=torch.channels_last, non_blocking=True
        )
        with autocast(self.device, self.config.amp):
            logits = self.segmenter(images)
        parts = logits.float().softmax(dim=1).split([len(c.images) for c in chains])
        return [_unflipped(part, chain) for part, chain in zip(parts, chains, strict=True)]

    @torch.no_grad()
    def pairs(self, chains: Sequence[Chain], refiners: Refiners | None) -> dict[int, Pair]:
        """Fine and coarse (N, C, h, w) at each later scale, of the N chains that reach it.

        ``refiners`` merge the map that the next scale starts from; None takes the fine prediction itself.
        """
        predictions = self.predict(chains)
        maps = [p[:1] for p in predictions]
        result = {}
        depth = max(len(p) for p in predictions)
        for scale in range(1, depth):
            reached = [i for i, p in enumerate(predictions) if len(p) > scale]
            fine = torch.cat([predictions[i][scale : scale + 1] for i in reached])
            coarse = torch.cat([self._coarse(chains[i], maps[i], scale) for i in reached])
            image = torch.stack([self._image(chains[i], scale) for i in reached])
            result[scale] = Pair(fine, coarse, image)
            if self.config.refiner.pairs == "accumulated" and scale + 1 < depth:
                refined = self._accumulate(chains, reached, result[scale], refiners, scale)
                for i, map_ in zip(reached, refined, strict=True):
                    maps[i] = map_
        return result

    def _accumulate(
        self,
        chains: Sequence[Chain],
        reached: Sequence[int],
        pair: Pair,
        refiners: Refiners | None,
        scale: int,
    ) -> list[Tensor]:
        """The maps (1, C, h, w) of a scale after refinement, refined where the next scale's patch will look."""
        places = [self._next_place(chains[i], scale) for i in reached]
        part = Pair(
            *(torch.stack([t[n, :, y : y + h, x : x + w] for n, (y, x, h, w) in enumerate(places)]) for t in pair)
        )
        merged = part.fine
        if refiners is not None:
            refiner = refiners.of(scale)
            was_training = refiner.training
            refiner.eval()
            with autocast(self.device, self.config.amp):
                merged = refiner(*map(_channels_last, part.seen_by(refiner))).float().softmax(dim=1)
            refiner.train(was_training)
        walk = self.config.walk
        updated = refine_step_by(
            walk.points_by,
            part.coarse,
            merged,
            n_points=self.fractions[scale],
            kernel_size=walk.kernel_size,
            seed=scale,
        )
        refined = list(pair.coarse.clone().split(1))
        for row, (y, x, h, w) in enumerate(places):
            refined[row][..., y : y + h, x : x + w] = updated[row]
        return refined

    def _next_place(self, chain: Chain, scale: int) -> tuple[int, int, int, int]:
        """(y, x, h, w) of the part of a patch that the next scale's patch shows, with a margin; one h, w for all."""
        result = []
        for i, length in enumerate(self.config.input_size):
            ratio = self.sizes[scale + 1][i] / self.sizes[scale][i]
            size = min(length, int(np.ceil(length / ratio)) + 2 * _MARGIN)
            start = 0
            if len(chain.origins) > scale + 1:
                start = int(chain.origins[scale + 1][i] / ratio) - chain.origins[scale][i] - _MARGIN
            result.append((max(0, min(start, length - size)), size))
        (y, h), (x, w) = result
        return y, x, h, w

    def _image(self, chain: Chain, scale: int) -> Tensor:
        return _unflipped(chain.images[scale].to(self.device, non_blocking=True), chain)

    def _coarse(self, chain: Chain, earlier: Tensor, scale: int) -> Tensor:
        start = 0 if self.config.refiner.pairs == "first" else scale - 1
        (h0, w0), (h1, w1) = self.sizes[start], self.sizes[scale]
        return _enlarge(earlier, chain.origins[start], chain.origins[scale], (h1 / h0, w1 / w0))


def _unflipped(values: Tensor, chain: Chain) -> Tensor:
    turned = [dim for dim, on in zip((-2, -1), chain.flip, strict=True) if on]
    return values.flip(turned) if turned else values


def _enlarge(parent: Tensor, origin: tuple[int, int], child: tuple[int, int], ratio: tuple[float, float]) -> Tensor:
    """The part of a parent patch (1, C, h, w) that its child shows, bilinear as in resizing the whole map."""
    h, w = parent.shape[-2:]
    y, x = (_places(parent.shape[2 + i], origin[i], child[i], ratio[i], parent.device) for i in (0, 1))
    grid = torch.stack((x[None, :].expand(h, w), y[:, None].expand(h, w)), dim=-1)[None]
    return F.grid_sample(parent, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _places(length: int, origin: int, child: int, ratio: float, device: torch.device) -> Tensor:
    """Where a child's pixels lie along an axis of its parent, -1 and 1 being the parent's edges.

    Tensors are divided by, not numbers: by those a GPU rounds otherwise than a CPU.
    """
    places = torch.arange(length, device=device) + 0.5 + child
    places = places / places.new_full((), ratio) - origin
    return 2 * places / places.new_full((), length) - 1


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
