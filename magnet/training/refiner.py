"""Second stage: refinement modules, trained on the predictions of the frozen segmenter.

A training chain is a whole image and, inside it, one patch of each later scale, each patch inside the one before. So
the coarse input of every scale can be what inference feeds there: the map accumulated over all earlier scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from magnet.data import IGNORE_INDEX, ScaleCache
from magnet.errors import MagNetError
from magnet.images import normalize, to_tensor
from magnet.metrics import confusion_matrix, mean_iou
from magnet.networks import RefinementModule, build_segmenter
from magnet.training.augment import Colour
from magnet.training.config import AugmentConfig, TrainConfig
from magnet.training.loop import Average, Loss, Optimiser, RunLog, autocast, save_weights, to_device

__all__ = ["Chain", "draw_chain", "load_segmenter", "train_refiner"]

_MARGIN = 8  # pixels around what the next scale sees, as the refinement module looks about that far


class Chain(NamedTuple):
    """One patch of each scale, each inside the one before; the first is the whole image.

    images: (S, 3, h, w) normalised; labels: (S, h, w); origins: (y, x) of each patch in pixels of its scale.
    """

    images: Tensor
    labels: Tensor
    origins: list[tuple[int, int]]
    flip: tuple[bool, bool]


def draw_chain(
    rng: np.random.Generator, cache: ScaleCache, index: int, size: tuple[int, int], augment: AugmentConfig | None
) -> Chain:
    """Draw nested patches of ``size`` (H, W) in one image; without ``augment`` its pixels are as they are."""
    h, w = size
    colour = Colour(rng, augment) if augment else None
    flip = (False, False)
    if augment:
        flip = (bool(rng.random() < augment.flip_vertical), bool(rng.random() < augment.flip))
    turned = [dim for dim, wanted in zip((-2, -1), flip, strict=True) if wanted]
    images, labels, origins = [], [], [(0, 0)]
    for scale in cache.scales_of(index):
        image, ids = cache.get(index, scale)
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
        labels.append(torch.from_numpy(ids[y : y + h, x : x + w].astype(np.int64)))
    return Chain(torch.stack(images), torch.stack(labels), origins, flip)


def _child(rng: np.random.Generator, parent: int, length: int, ratio: float, whole: int) -> int:
    """Where a patch starts, so that it lies inside its parent and inside the image."""
    first = min(int(np.ceil(parent * ratio)), whole - length)
    last = max(min(int((parent + length) * ratio) - length, whole - length), first)
    return int(rng.integers(first, last + 1))


def _enlarge(parent: Tensor, origin: tuple[int, int], child: tuple[int, int], ratio: tuple[float, float]) -> Tensor:
    """The part of a parent patch (1, C, h, w) that its child shows, bilinear as in resizing the whole map."""
    h, w = parent.shape[-2:]
    y = (torch.arange(h, device=parent.device) + 0.5 + child[0]) / ratio[0] - origin[0]
    x = (torch.arange(w, device=parent.device) + 0.5 + child[1]) / ratio[1] - origin[1]
    grid = torch.stack(((2 * x / w - 1)[None, :].expand(h, w), (2 * y / h - 1)[:, None].expand(h, w)), dim=-1)[None]
    return F.grid_sample(parent, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Stage:
    """Makes the (fine, coarse, labels) pairs of chains, scale by scale."""

    def __init__(
        self, config: TrainConfig, segmenter: nn.Module, sizes: Sequence[tuple[int, int]], device: torch.device
    ) -> None:
        self.config, self.segmenter, self.sizes, self.device = config, segmenter, list(sizes), device
        n = config.walk.n_points
        self.fractions = [n if isinstance(n, float) else min(1.0, n / (h * w)) for h, w in config.walk.scales]

    @torch.no_grad()
    def predict(self, chains: Sequence[Chain]) -> list[Tensor]:
        """Probabilities (S, C, h, w) of each chain."""
        images = torch.cat([c.images for c in chains]).to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, self.config.amp):
            logits = self.segmenter(images)
        parts = logits.float().softmax(dim=1).split([len(c.images) for c in chains])
        turned = [[d for d, on in zip((-2, -1), c.flip, strict=True) if on] for c in chains]
        return [p.flip(t) if t else p for p, t in zip(parts, turned, strict=True)]

    @torch.no_grad()
    def pairs(
        self,
        chains: Sequence[Chain],
        refiners: Sequence[nn.Module] | None,
        crop: tuple[int, int] | None,
        rng: np.random.Generator,
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each later scale, batches of fine (N, C, h, w), coarse and labels (N, h, w).

        ``refiners`` merge the map that the next scale starts from; None takes the fine prediction itself.
        """
        predictions = self.predict(chains)
        maps = [p[:1] for p in predictions]
        result = []
        depth = max(len(p) for p in predictions)
        for scale in range(1, depth):
            reached = [i for i, p in enumerate(predictions) if len(p) > scale]
            fine = torch.cat([predictions[i][scale : scale + 1] for i in reached])
            coarse = torch.cat([self._coarse(chains[i], maps[i], scale) for i in reached])
            labels = torch.stack([chains[i].labels[scale] for i in reached]).to(self.device)
            if self.config.refiner.pairs == "accumulated" and scale + 1 < depth:
                for i, known in zip(
                    reached, self._accumulate(chains, reached, fine, coarse, refiners, scale), strict=True
                ):
                    maps[i] = known
            result.append(_crop(fine, coarse, labels, crop, rng))
        return result

    def _accumulate(
        self,
        chains: Sequence[Chain],
        reached: Sequence[int],
        fine: Tensor,
        coarse: Tensor,
        refiners: Sequence[nn.Module] | None,
        scale: int,
    ) -> list[Tensor]:
        """The maps (1, C, h, w) of a scale after refinement, refined where the next scale's patch will look."""
        from magnet import refine_step

        places = [self._next_place(chains[i], scale) for i in reached]
        fine_part, coarse_part = (
            torch.cat([t[row : row + 1, :, y : y + h, x : x + w] for row, (y, x, h, w) in enumerate(places)])
            for t in (fine, coarse)
        )
        merged = fine_part
        if refiners is not None:
            refiner = refiners[min(scale, len(refiners)) - 1]
            was_training = refiner.training
            refiner.eval()
            with autocast(self.device, self.config.amp):
                merged = refiner(_channels_last(fine_part), _channels_last(coarse_part)).float().softmax(dim=1)
            refiner.train(was_training)
        walk = self.config.walk
        updated = refine_step(coarse_part, merged, n_points=self.fractions[scale], kernel_size=walk.kernel_size)
        known = list(coarse.clone().split(1))
        for row, (y, x, h, w) in enumerate(places):
            known[row][..., y : y + h, x : x + w] = updated[row]
        return known

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

    def _coarse(self, chain: Chain, known: Tensor, scale: int) -> Tensor:
        start = 0 if self.config.refiner.pairs == "first" else scale - 1
        (h0, w0), (h1, w1) = self.sizes[start], self.sizes[scale]
        return _enlarge(known, chain.origins[start], chain.origins[scale], (h1 / h0, w1 / w0))


def _crop(
    fine: Tensor, coarse: Tensor, labels: Tensor, crop: tuple[int, int] | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = labels.shape[-2:]
    if crop is None or (crop[0] >= height and crop[1] >= width):
        return fine, coarse, labels
    h, w = min(crop[0], height), min(crop[1], width)
    parts = []
    for row in range(len(labels)):
        for _ in range(4):
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            if (labels[row, y : y + h, x : x + w] != IGNORE_INDEX).float().mean() > 0.2:
                break
        parts.append(tuple(t[row, ..., y : y + h, x : x + w] for t in (fine, coarse, labels)))
    return torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts]), torch.stack([p[2] for p in parts])


def load_segmenter(config: TrainConfig, num_classes: int, path: Path, device: torch.device) -> nn.Module:
    """The trained segmenter, frozen."""
    network = build_segmenter(config.segmenter.network, num_classes, weights=path)
    return to_device(network, device).eval().requires_grad_(False)


def train_refiner(
    config: TrainConfig, train: Sequence[ScaleCache], val: ScaleCache, device: torch.device, folder: Path, log: RunLog
) -> list[nn.Module]:
    """Train the refinement modules and write ``folder/model``; returns one module, or one for each later scale."""
    stage, size = config.refiner, config.input_size
    num_classes = val.dataset.num_classes
    if len(config.walk.scales) < 2:
        raise MagNetError(f"walk.scales: refinement needs at least two scales, got {config.walk.scales}")
    segmenter = load_segmenter(config, num_classes, folder / "segmenter" / "best.safetensors", device)
    torch.manual_seed(config.seed + 1)
    count = len(config.walk.scales) - 1 if stage.per_scale else 1
    refiners = to_device(nn.ModuleList(RefinementModule(num_classes) for _ in range(count)), device)
    for module in refiners.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            # the statistics are used while they are learnt, and a short run has no time for a slow average
            module.momentum = max(module.momentum, min(0.1, 20 / max(stage.iterations, 1)))
    average = Average(refiners, stage.optim.ema)
    optimiser = Optimiser(list(refiners.parameters()), stage.optim, stage.iterations)
    loss_of = Loss(stage.loss, stage.class_weights, stage.dice, num_classes, device)
    maker = _Stage(config, segmenter, config.network_sizes, device)
    images = [(c, i) for c, cache in enumerate(train) for i in range(len(cache)) if len(cache.scales_of(i)) > 1]
    val_images = [i for i in range(len(val)) if len(val.scales_of(i)) > 1]
    if not images or not val_images:
        raise MagNetError(
            "walk.scales: no training or no validation image is as large as the second scale; drop the scales"
        )
    # images that reach fewer scales may be many more, and must not crowd out the last scale
    depths = [len(train[c].scales_of(i)) for c, i in images]
    groups = [[item for item, d in zip(images, depths, strict=True) if d == depth] for depth in sorted(set(depths))]
    warmup = max(1, round(stage.optim.warmup * stage.iterations))
    best, recent = -1.0, 0.0

    def validate(step: int) -> None:
        nonlocal best
        kept = average.network.eval()
        assert isinstance(kept, nn.ModuleList)
        scores = _validate(maker, kept, val, val_images, num_classes)
        log.write(stage="refiner", step=step, loss=round(recent, 4), **scores)
        tqdm.write(f"step {step}: loss {recent:.4f}, val patches: {scores}")
        score = sum(scores["refined"])
        save_weights(kept, folder / "refiner" / "last.safetensors", step=step, score=score)
        if score > best:
            best = score
            save_weights(kept, folder / "refiner" / "best.safetensors", step=step, score=score)
        refiners.train()

    refiners.train()
    progress = tqdm(range(stage.iterations), desc="refiner", mininterval=2)
    for step in progress:
        rng = np.random.default_rng((config.seed, 2, step))
        chains = []
        for _ in range(stage.batch_size):
            group = groups[int(rng.integers(len(groups)))] if len(groups) > 1 else groups[0]
            cache, index = group[int(rng.integers(len(group)))]
            chains.append(draw_chain(rng, train[cache], index, size, stage.augment))
        # a module that has learnt nothing yet would spoil the maps of the scales after it
        pairs = maker.pairs(chains, list(refiners) if step >= warmup else None, stage.crop, rng)
        losses = []
        if count == 1 and len({p[0].shape[1:] for p in pairs}) == 1:
            pairs = [
                (torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]), torch.cat([p[2] for p in pairs]))
            ]
        for number, (fine, coarse, labels) in enumerate(pairs):
            with autocast(device, config.amp):
                logits = refiners[min(number, count - 1)](_channels_last(fine), _channels_last(coarse))
            losses.append(loss_of(logits.float(), labels))
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            raise MagNetError(f"training: the loss became {float(loss)} at step {step}; lower refiner.optim.lr")
        optimiser.step(loss)
        average.update(refiners)
        recent = 0.95 * recent + 0.05 * float(loss) if step else float(loss)
        progress.set_postfix(loss=f"{recent:.4f}")
        if step % 20 == 0:
            log.write(stage="refiner", step=step, loss=round(recent, 4), lr=optimiser.rate())
        if stage.val_every and (step + 1) % stage.val_every == 0 and step + 1 < stage.iterations:
            validate(step + 1)
    validate(stage.iterations)
    return save_model(config, val.dataset.class_names, folder)


@torch.no_grad()
def _validate(
    maker: _Stage, refiners: nn.ModuleList, val: ScaleCache, images: Sequence[int], num_classes: int
) -> dict[str, list[float]]:
    """Class-mean IoU of coarse, fine and refined patches at each later scale, on the same chains every time."""
    totals: dict[tuple[str, int], Tensor] = {}
    for number in range(maker.config.refiner.val_chains):
        rng = np.random.default_rng((7, number))
        chain = draw_chain(rng, val, images[number % len(images)], maker.config.input_size, None)
        for scale, (fine, coarse, labels) in enumerate(maker.pairs([chain], list(refiners), None, rng), start=1):
            with autocast(maker.device, maker.config.amp):
                refined = refiners[min(scale, len(refiners)) - 1](_channels_last(fine), _channels_last(coarse))
            for name, values in (("coarse", coarse), ("fine", fine), ("refined", refined)):
                matrix = confusion_matrix(values.argmax(dim=1).cpu(), labels.cpu(), num_classes)
                totals[name, scale] = totals.get((name, scale), torch.zeros_like(matrix)) + matrix
    depth = max(scale for _, scale in totals)
    return {
        name: [round(mean_iou(totals[name, s]) * 100, 2) for s in range(1, depth + 1)]
        for name in ("coarse", "fine", "refined")
    }


def save_model(config: TrainConfig, class_names: Sequence[str], folder: Path) -> list[nn.Module]:
    """Join the best segmenter and the best refiners of a run into ``folder/model``."""
    from magnet import MagNet
    from magnet.checkpoints import load_weights

    num_classes = len(class_names)
    cpu = torch.device("cpu")
    segmenter = load_segmenter(config, num_classes, folder / "segmenter" / "best.safetensors", cpu)
    count = len(config.walk.scales) - 1 if config.refiner.per_scale else 1
    refiners = nn.ModuleList(RefinementModule(num_classes) for _ in range(count))
    load_weights(folder / "refiner" / "best.safetensors", refiners)
    walk = config.walk
    model = MagNet(
        segmenter,
        list(refiners),
        scales=walk.scales,
        patch_size=walk.patch_size,
        input_size=walk.input_size,
        n_points=walk.n_points,
        kernel_size=walk.kernel_size,
        class_names=class_names,
    )
    info = {**config.info, "recipe": config.name, "seed": config.seed}
    model.save_pretrained(folder / "model", half=config.half, info=info)
    return list(refiners)
