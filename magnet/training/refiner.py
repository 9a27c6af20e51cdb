"""Second stage: refinement modules, trained on the predictions of the frozen segmenter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from magnet.data import ScaleCache
from magnet.devices import autocast, to_device
from magnet.distributed import all_reduce_sum, barrier, global_max, shard
from magnet.errors import MagNetError
from magnet.evaluation.metrics import confusion_matrix, mean_iou
from magnet.training import loop
from magnet.training.chains import Chain, ChainBatch, ChainSamples, cropped, draw_chain
from magnet.training.config import TrainConfig
from magnet.training.losses import Loss
from magnet.training.network import trained_network
from magnet.training.pairs import Pair, PairMaker, Refiners, build_refiners
from magnet.training.pictures import PICTURES, class_colours, rgb, sheet
from magnet.training.runlog import RunLog
from magnet.training.state import seed_everything
from magnet.training.task import Validation

__all__ = ["RefinerTask", "check_scales", "load_segmenter", "train_refiner"]


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
        self._maker = PairMaker(config, segmenter, config.network_sizes, device)
        self._warmup = max(1, round(stage.optim.warmup * stage.iterations))
        self._val = val
        self._val_images = [i for i in range(len(val)) if len(val.scales_of(i)) > 1]

    def targets(self, batch: ChainBatch) -> dict[int, Tensor]:
        chains = batch.chains()
        parts = {}
        for scale in range(1, self._depth(batch)):
            labels = [c.labels[scale] for c in chains if len(c.labels) > scale]
            whole = torch.stack(labels) if labels else batch.labels[:0]
            parts[scale] = cropped(whole, chains, scale, self._crop)
        return {1: torch.cat(list(parts.values()))} if self._joint else parts

    def forward(self, network: nn.Module, batch: ChainBatch, step: int) -> dict[int, Tensor | Sequence[Tensor]]:
        chains = batch.chains()
        # a module that has learnt nothing yet would spoil the maps of the scales after it
        pairs = self._maker.pairs(chains, self.network if step >= self._warmup else None)
        pairs = {
            scale: Pair(*(cropped(values, chains, scale, self._crop) for values in pair))
            for scale, pair in pairs.items()
        }
        for scale in range(len(pairs) + 1, self._depth(batch)):
            pairs[scale] = Pair(*(values[:0] for values in pairs[1]))
        if self._joint:
            pairs = {1: Pair(*(torch.cat(values) for values in zip(*pairs.values(), strict=True)))}
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
            scale: {"coarse": pair.coarse, "fine": pair.fine, "refined": refined[scale]}
            for scale, pair in pairs.items()
        }


def load_segmenter(config: TrainConfig, num_classes: int, path: Path, device: torch.device) -> nn.Module:
    """The trained segmenter, frozen."""
    network = trained_network(config, num_classes, path)
    return to_device(network, device).eval().requires_grad_(False)


def check_scales(config: TrainConfig, train: Sequence[ScaleCache], val: ScaleCache) -> None:
    """Raise MagNetError where there is nothing to refine, or nothing to learn it from."""
    if len(config.walk.scales) < 2:
        raise MagNetError(f"walk.scales: refinement needs at least two scales, got {config.walk.scales}; add one")
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
        MagNetError, SystemExit: see :func:`magnet.training.loop.train`.
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
    trained = loop.train(task, config, device, folder / task.name, log)
    assert isinstance(trained, Refiners)
    return trained
