"""Second stage: refinement modules, trained on the predictions of the frozen segmenter.

A training chain is a whole image and, inside it, one patch of each later scale, each patch inside the one before. So
the coarse input of every scale can be what inference feeds there: the map accumulated over all earlier scales.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.colours import channel_statistics
from magnet.data import IGNORE_INDEX, Dataset, ScaleCache, colours_of
from magnet.distributed import all_reduce_sum, barrier, global_max, shard
from magnet.errors import MagNetError
from magnet.images import normalize, to_tensor
from magnet.metrics import confusion_matrix, mean_iou
from magnet.networks import RefinementModule, build_segmenter
from magnet.training import engine
from magnet.training.augment import Colour
from magnet.training.config import AugmentConfig, TrainConfig
from magnet.training.loop import Loss, autocast, to_device
from magnet.training.parallel import has_sync_batch_norm
from magnet.training.pictures import PICTURES, class_colours, rgb, sheet
from magnet.training.runlog import RunLog
from magnet.training.state import seed_everything
from magnet.training.task import Validation

__all__ = ["Chain", "RefinerTask", "check_scales", "draw_chain", "load_segmenter", "save_model", "train_refiner"]

_MARGIN = 8  # pixels around what the next scale sees, as the refinement module looks about that far


class Chain(NamedTuple):
    """One patch of each scale, each inside the one before; the first is the whole image.

    images: (S, 3, h, w) normalised, flipped as ``flip`` (upside down, left-right) says; labels: (S, h, w) uint8, not
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
    colour = Colour(rng, augment) if augment else None
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


def _enlarge(parent: Tensor, origin: tuple[int, int], child: tuple[int, int], ratio: tuple[float, float]) -> Tensor:
    """The part of a parent patch (1, C, h, w) that its child shows, bilinear as in resizing the whole map."""
    h, w = parent.shape[-2:]
    y = (torch.arange(h, device=parent.device) + 0.5 + child[0]) / ratio[0] - origin[0]
    x = (torch.arange(w, device=parent.device) + 0.5 + child[1]) / ratio[1] - origin[1]
    grid = torch.stack(((2 * x / w - 1)[None, :].expand(h, w), (2 * y / h - 1)[:, None].expand(h, w)), dim=-1)[None]
    return F.grid_sample(parent, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _PairMaker:
    """Makes the (fine, coarse) pairs of chains, scale by scale."""

    def __init__(
        self, config: TrainConfig, segmenter: nn.Module, sizes: Sequence[tuple[int, int]], device: torch.device
    ) -> None:
        self.config, self.segmenter, self.sizes, self.device = config, segmenter, list(sizes), device
        n = config.walk.n_points
        self.fractions = [n if isinstance(n, float) else min(1.0, n / (h * w)) for h, w in config.walk.scales]

    @torch.no_grad()
    def predict(self, chains: Sequence[Chain]) -> list[Tensor]:
        """Probabilities (S, C, h, w) of each chain."""
        images = torch.cat([c.images for c in chains]).to(
            self.device, memory_format=torch.channels_last, non_blocking=True
        )
        with autocast(self.device, self.config.amp):
            logits = self.segmenter(images)
        parts = logits.float().softmax(dim=1).split([len(c.images) for c in chains])
        turned = [[d for d, on in zip((-2, -1), c.flip, strict=True) if on] for c in chains]
        return [p.flip(t) if t else p for p, t in zip(parts, turned, strict=True)]

    @torch.no_grad()
    def pairs(self, chains: Sequence[Chain], refiners: Refiners | None) -> dict[int, tuple[Tensor, Tensor]]:
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
            if self.config.refiner.pairs == "accumulated" and scale + 1 < depth:
                for i, known in zip(
                    reached, self._accumulate(chains, reached, fine, coarse, refiners, scale), strict=True
                ):
                    maps[i] = known
            result[scale] = fine, coarse
        return result

    def _accumulate(
        self,
        chains: Sequence[Chain],
        reached: Sequence[int],
        fine: Tensor,
        coarse: Tensor,
        refiners: Refiners | None,
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
            refiner = refiners.of(scale)
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


def _cropped(values: Tensor, chains: Sequence[Chain], scale: int, crop: tuple[int, int] | None) -> Tensor:
    """The parts that the loss is taken on, of (N, ..., h, w) values of the N chains that reach a scale."""
    if crop is None:
        return values
    h, w = crop
    places = [chain.crops[scale - 1] for chain in chains if len(chain.labels) > scale]
    if not places:
        return values[..., :h, :w]
    return torch.stack([part[..., y : y + h, x : x + w] for part, (y, x) in zip(values, places, strict=True)])


class Refiners(nn.ModuleList):
    """One refinement module for all later scales, or one for each; keys as of a ModuleList."""

    def of(self, scale: int) -> nn.Module:
        """The module of a scale (1 is the first after the coarse one)."""
        return self[min(scale, len(self)) - 1]

    def forward(self, pairs: dict[int, tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
        """Logits of (fine, coarse) pairs by scale; all in one call, as DistributedDataParallel needs."""
        return {scale: self._refine(scale, *pair) for scale, pair in pairs.items()}

    def _refine(self, scale: int, fine: Tensor, coarse: Tensor) -> Tensor:
        module = self.of(scale)
        if self.training and not len(fine) and not has_sync_batch_norm(module):
            # other processes have images at this scale, this one has not: its own norms have nothing to learn from
            module.eval()
            logits = module(fine, coarse)
            module.train()
            return logits  # type: ignore[no-any-return]
        return module(_channels_last(fine), _channels_last(coarse))  # type: ignore[no-any-return]


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


class RefinerTask:
    """The second stage, for the training loop (:class:`magnet.training.task.Task`).

    One module for all scales has one loss over the pixels of all scales; with one module for each, each has its own.
    """

    name, number = "refiner", 2

    def __init__(
        self,
        config: TrainConfig,
        network: Refiners,
        segmenter: nn.Module,
        train: Sequence[ScaleCache],
        val: ScaleCache,
        device: torch.device,
        origin: dict[str, str],
    ) -> None:
        stage = config.refiner
        self.settings, self.network, self.origin = stage, network, origin
        self.samples = ChainSamples(train, config.input_size, stage.augment, stage.crop)
        self.loss = Loss.of(stage, val.dataset.num_classes, device)
        self._crop = None if stage.crop == config.input_size else stage.crop
        self._joint = len(network) == 1
        self.partly_used = not self._joint
        self._maker = _PairMaker(config, segmenter, config.network_sizes, device)
        self._warmup = max(1, round(stage.optim.warmup * stage.iterations))
        self._val = val
        self._val_images = [i for i in range(len(val)) if len(val.scales_of(i)) > 1]

    def targets(self, batch: ChainBatch) -> dict[int, Tensor]:
        chains = batch.chains()
        parts = {}
        for scale in range(1, self._depth(batch)):
            labels = [c.labels[scale] for c in chains if len(c.labels) > scale]
            whole = torch.stack(labels) if labels else batch.labels[:0]
            parts[scale] = _cropped(whole, chains, scale, self._crop)
        return {1: torch.cat(list(parts.values()))} if self._joint else parts

    def forward(self, network: nn.Module, batch: ChainBatch, step: int) -> dict[int, Tensor | Sequence[Tensor]]:
        chains = batch.chains()
        # a module that has learnt nothing yet would spoil the maps of the scales after it
        pairs = self._maker.pairs(chains, self.network if step >= self._warmup else None)
        pairs = {
            scale: (_cropped(fine, chains, scale, self._crop), _cropped(coarse, chains, scale, self._crop))
            for scale, (fine, coarse) in pairs.items()
        }
        for scale in range(len(pairs) + 1, self._depth(batch)):
            pairs[scale] = pairs[1][0][:0], pairs[1][1][:0]
        if self._joint:
            pairs = {1: (torch.cat([p[0] for p in pairs.values()]), torch.cat([p[1] for p in pairs.values()]))}
        with autocast(self._maker.device, self._maker.config.amp):
            logits = network(pairs)
        return {scale: values.float() for scale, values in logits.items()}

    def _depth(self, batch: ChainBatch) -> int:
        """Scales that the chains reach; with a module for each scale, those of all processes, which must meet there."""
        depth = max(batch.depths)
        return depth if self._joint else global_max(depth)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> Validation:
        """Class-mean IoU of coarse, fine and refined patches at each later scale, on the same chains every time."""
        num_classes = self._val.dataset.num_classes
        names, depth = ("coarse", "fine", "refined"), len(self._maker.sizes)
        totals = torch.zeros(len(names), depth, num_classes, num_classes, dtype=torch.int64)
        for number in shard(range(self.settings.val_chains)):
            chain = self._val_chain(number)
            for scale, maps in self._predict(network, chain).items():
                for row, name in enumerate(names):
                    predicted = maps[name].argmax(dim=1).cpu()
                    totals[row, scale] += confusion_matrix(predicted, chain.labels[scale : scale + 1], num_classes)
        totals = all_reduce_sum(totals)
        reached = max(len(self._val.scales_of(i)) for i in self._val_images[: self.settings.val_chains])
        scores = {
            name: [round(mean_iou(totals[row, scale]) * 100, 2) for scale in range(1, reached)]
            for row, name in enumerate(names)
        }
        return Validation(sum(scores["refined"]), scores, f"val patches: {scores}")

    @torch.no_grad()
    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Of each of a few patches of the last scale: it, its labels, and the coarse, fine and refined predictions."""
        colours = class_colours(self._val.dataset)
        sheets = {}
        for number in range(min(PICTURES, self.settings.val_chains)):
            chain = self._val_chain(number)
            scale, maps = max(self._predict(network, chain).items())
            classes = [maps[name].argmax(dim=1)[0].cpu().numpy() for name in ("coarse", "fine", "refined")]
            image = rgb(chain.images[scale])
            sheets[f"refiner/{number}_{chain.name}"] = sheet(image, [chain.labels[scale].numpy(), *classes], colours)
        return sheets

    def _val_chain(self, number: int) -> Chain:
        index = self._val_images[number % len(self._val_images)]
        return draw_chain(np.random.default_rng((7, number)), self._val, index, self._maker.config.input_size, None)

    def _predict(self, network: nn.Module, chain: Chain) -> dict[int, dict[str, Tensor]]:
        """Coarse, fine and refined maps (1, C, h, w) of a chain at each later scale."""
        assert isinstance(network, Refiners)
        pairs = self._maker.pairs([chain], network)
        with autocast(self._maker.device, self._maker.config.amp):
            refined = network(pairs)
        return {
            scale: {"coarse": coarse, "fine": fine, "refined": refined[scale]}
            for scale, (fine, coarse) in pairs.items()
        }


def load_segmenter(config: TrainConfig, num_classes: int, path: Path, device: torch.device) -> nn.Module:
    """The trained segmenter, frozen."""
    network = build_segmenter(config.segmenter.network, num_classes, weights=path)
    return to_device(network, device).eval().requires_grad_(False)


def check_scales(config: TrainConfig, train: Sequence[ScaleCache], val: ScaleCache) -> None:
    """Raise MagNetError where there is nothing to refine, or nothing to learn it from."""
    if len(config.walk.scales) < 2:
        raise MagNetError(f"walk.scales: refinement needs at least two scales, got {config.walk.scales}")
    for split, caches in (("training", train), ("validation", [val])):
        if not any(len(cache.scales_of(i)) > 1 for cache in caches for i in range(len(cache))):
            h, w = config.network_sizes[1]
            raise MagNetError(
                f"walk.scales: no {split} image is as large as the second scale, {h}x{w} (HxW); drop the scales"
            )


def train_refiner(
    config: TrainConfig, train: Sequence[ScaleCache], val: ScaleCache, device: torch.device, folder: Path, log: RunLog
) -> nn.ModuleList:
    """Train the refinement modules on the run's best segmenter; returns them after the last step, or their average.

    Args:
        config: the run; its ``iterations`` are counted out.
        train: images to train on.
        val: images to validate on.
        device: where to train.
        folder: of the run; checkpoints go to ``refiner`` in it.
        log: of the run.

    Raises:
        MagNetError, SystemExit: see :func:`magnet.training.engine.train`.
    """
    stage = config.refiner
    num_classes = val.dataset.num_classes
    barrier()  # the main process may still be writing what the others read
    weights = folder / "segmenter" / "best.safetensors"
    segmenter = load_segmenter(config, num_classes, weights, device)
    seed_everything(config.seed + 1)
    refiners = to_device(build_refiners(config, num_classes), device)
    for module in refiners.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            # the statistics are used while they are learnt, and a short run has no time for a slow average
            module.momentum = max(module.momentum, min(0.1, 20 / max(stage.iterations, 1)))
    with weights.open("rb") as file:
        origin = {"segmenter": hashlib.file_digest(file, "sha256").hexdigest()}
    task = RefinerTask(config, refiners, segmenter, train, val, device, origin)
    trained = engine.train(task, config, device, folder / task.name, log)
    assert isinstance(trained, Refiners)
    return trained


def build_refiners(config: TrainConfig, num_classes: int) -> Refiners:
    """Untrained refinement modules: one, or one for each later scale."""
    count = len(config.walk.scales) - 1 if config.refiner.per_scale else 1
    return Refiners(RefinementModule(num_classes) for _ in range(count))


def save_model(config: TrainConfig, dataset: Dataset, train: Sequence[ScaleCache], folder: Path) -> None:
    """Join the best segmenter and the best refiners of a run into ``folder/model``; names and colours from the data."""
    from magnet import MagNet
    from magnet.checkpoints import load_weights

    num_classes = dataset.num_classes
    cpu = torch.device("cpu")
    segmenter = load_segmenter(config, num_classes, folder / "segmenter" / "best.safetensors", cpu)
    refiners = build_refiners(config, num_classes)
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
        points_by=walk.points_by,
        follow_image=walk.follow_image,
        colour_statistics=channel_statistics(_small_images(train)),
        match_colours=walk.match_colours,
        class_names=dataset.class_names,
        colours=colours_of(dataset),
    )
    info = {**config.info, "recipe": config.name, "seed": config.seed}
    model.save_pretrained(folder / "model", half=config.half, info=info)


def _small_images(train: Sequence[ScaleCache], most: int = 200) -> Iterator[np.ndarray]:
    """Training images at the first scale, at most so many, evenly chosen."""
    images = [(cache, index) for cache in train for index in range(len(cache))]
    for cache, index in images[:: -(-len(images) // most)]:
        yield cache.get(index, 0)[0]
