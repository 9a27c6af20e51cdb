"""First stage: one segmenter, trained on whole images at the first scale and on patches of every later scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from magnet.checkpoints.safetensors_files import load_safetensors
from magnet.data import ScaleCache
from magnet.devices import autocast, predictor, to_device
from magnet.distributed import all_reduce_sum, is_main, shard
from magnet.errors import MagNetError
from magnet.evaluation.metrics import confusion_matrix, iou_per_class, mean_iou
from magnet.images.tensors import to_tensor
from magnet.networks.wrap import WrappedSegmenter
from magnet.training import loop
from magnet.training.augment import random_sample
from magnet.training.config import AugmentConfig, TrainConfig
from magnet.training.losses import Loss
from magnet.training.network import finished_network, new_network
from magnet.training.optimiser import save_weights
from magnet.training.pictures import PICTURES, class_colours, sheet
from magnet.training.run_folder import STATE
from magnet.training.runlog import RunLog
from magnet.training.state import seed_everything
from magnet.training.task import Validation
from magnet.walk.sliding import sliding_window

__all__ = ["SampleSource", "SegmenterTask", "keep_segmenter", "train_segmenter", "validate_segmenter"]


class DrawnImage(NamedTuple):
    """An image to cut a sample from.

    image: (H, W, C) uint8, or float32 in [0, 1]; labels: (H, W) uint8; base: the size (H, W) that the sample is drawn
    at, where that is not the image's own; name: of the image.
    """

    image: np.ndarray
    labels: np.ndarray
    base: tuple[int, int] | None
    name: str


class SampleSource:
    """Draws (image, scale) evenly over the images that are large enough for the scale."""

    def __init__(self, caches: Sequence[ScaleCache], weights: Sequence[float]) -> None:
        count = len(caches[0].sizes)
        if weights and (len(weights) != count or min(weights) < 0 or sum(weights) <= 0):
            raise MagNetError(f"segmenter.scale_weights: expected {count} weights, one a scale, got {list(weights)}")
        self.caches = list(caches)
        self.items: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for c, cache in enumerate(self.caches):
            for index in range(len(cache)):
                for scale in cache.scales_of(index):
                    self.items[scale].append((c, index))
        for scale, items in enumerate(self.items):
            if not items:
                h, w = caches[0].sizes[scale]
                raise MagNetError(
                    f"walk.scales: no training image is as large as scale {scale} ({h}x{w}); drop the scale"
                )
        p = np.asarray(weights or [1.0] * count, dtype=np.float64)
        self.p = p / p.sum()

    def draw(self, rng: np.random.Generator, augment: AugmentConfig) -> DrawnImage:
        scale = int(rng.choice(len(self.p), p=self.p))
        number, index = self.items[scale][int(rng.integers(len(self.items[scale])))]
        cache = self.caches[number]
        scaled = cache.open(index, rng)
        base = None
        if augment.crop == "random":  # what zooms in takes its detail from a finer copy, as far as there is one
            base = cache.sizes[scale]
            wanted = [length * max(augment.zoom[1], 1) for length in base]
            finer = [i for i in scaled.scales if i >= scale]
            scale = next(
                (i for i in finer if all(a >= b for a, b in zip(cache.sizes[i], wanted, strict=True))), finer[-1]
            )
        return DrawnImage(*scaled.get(scale), base, cache.dataset.name(index))


def validate_segmenter(
    network: nn.Module, cache: ScaleCache, size: tuple[int, int], num_images: int, device: torch.device, amp: str
) -> dict[str, list[float]]:
    """Class-mean IoU at the last scale's resolution of each scale's own prediction, patches side by side.

    Several processes share the images out, and each returns the scores of all.
    """
    count = min(num_images, len(cache)) if num_images else len(cache)
    num_classes = cache.dataset.num_classes
    matrices = torch.zeros(len(cache.sizes), num_classes, num_classes, dtype=torch.int64)
    for index in shard(range(count)):
        scales = cache.scales_of(index)
        labels = torch.from_numpy(cache.get(index, scales[-1])[1])
        for scale in scales:
            pixels = to_tensor(cache.get(index, scale)[0])[None].to(device)
            probabilities = sliding_window(predictor(network, device, amp), pixels, size)
            up = F.interpolate(probabilities, size=labels.shape, mode="bilinear", align_corners=False)
            matrices[scale] += confusion_matrix(up.argmax(dim=1)[0].cpu(), labels, num_classes)
    matrices = all_reduce_sum(matrices)
    reached = max(scale for index in range(count) for scale in cache.scales_of(index))
    return {
        "miou": [round(mean_iou(matrix) * 100, 2) for matrix in matrices[: reached + 1]],
        "iou_last": [round(v * 100, 1) for v in iou_per_class(matrices[reached]).tolist()],
    }


class SegmenterSample(NamedTuple):
    """image: (C, h, w) normalised; labels: (h, w) uint8; name: of the image that it was cut from."""

    image: Tensor
    labels: Tensor
    name: str


class SegmenterBatch(NamedTuple):
    """images: (N, C, h, w) normalised; labels: (N, h, w) uint8; names: of the images that they were cut from."""

    images: Tensor
    labels: Tensor
    names: list[str]


class SegmenterSamples:
    """Patches of the network's input size, cut from images at their scales and changed at random."""

    def __init__(self, source: SampleSource, size: tuple[int, int], augment: AugmentConfig) -> None:
        self._source, self._size, self._augment = source, size, augment

    def draw(self, rng: np.random.Generator) -> SegmenterSample:
        drawn = self._source.draw(rng, self._augment)
        image, labels = random_sample(rng, drawn.image, drawn.labels, self._size, self._augment, base=drawn.base)
        return SegmenterSample(image, labels.to(torch.uint8), drawn.name)

    def collate(self, samples: Sequence[SegmenterSample]) -> SegmenterBatch:
        return SegmenterBatch(
            torch.stack([s.image for s in samples]),
            torch.stack([s.labels for s in samples]),
            [s.name for s in samples],
        )


class SegmenterTask:
    """The first stage, for the training loop (:class:`magnet.training.task.Task`)."""

    name, number = "segmenter", 1

    def __init__(
        self, config: TrainConfig, network: nn.Module, source: SampleSource, val: ScaleCache, device: torch.device
    ) -> None:
        self.settings = config.segmenter
        self.network = network
        self.samples = SegmenterSamples(source, config.input_size, config.segmenter.augment)
        self.loss = Loss.of(config.segmenter, val.dataset.num_classes, device)
        self.origin: dict[str, str] = {}
        self._config, self._val, self._device = config, val, device
        self._heads = bool(getattr(network, "has_aux", False))
        # which may have heads or last layers that no step reaches
        self.partly_used = isinstance(network, WrappedSegmenter) or getattr(network, "encoder", None) is not None

    def targets(self, batch: SegmenterBatch) -> dict[int, Tensor]:
        return {0: batch.labels}

    def forward(self, network: nn.Module, batch: SegmenterBatch, step: int) -> dict[int, Tensor | Sequence[Tensor]]:
        images = batch.images.to(self._device, memory_format=torch.channels_last, non_blocking=True)
        with autocast(self._device, self._config.amp):
            return {0: network(images, heads=True) if self._heads else network(images)}

    def validate(self, network: nn.Module) -> Validation:
        config = self._config
        scores = validate_segmenter(
            network, self._val, config.input_size, self.settings.val_images, self._device, config.amp
        )
        miou = scores["miou"]
        return Validation(sum(miou) / len(miou), scores, f"val mIoU by scale {miou}")

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Of each of a few images: it, its labels, and the predictions of the first and of its last scale."""
        colours = class_colours(self._val.dataset)
        sheets = {}
        for index in range(min(PICTURES, len(self._val))):
            first, last = (self._val.scales_of(index)[i] for i in (0, -1))
            image, labels = self._val.get(index, last)
            predicted = []
            for scale in (first, last):
                pixels = to_tensor(self._val.get(index, scale)[0])[None].to(self._device)
                predict = predictor(network, self._device, self._config.amp)
                probabilities = sliding_window(predict, pixels, self._config.input_size)
                predicted.append(probabilities.argmax(dim=1)[0].cpu().numpy())
            sheets[f"segmenter/{self._val.dataset.name(index)}"] = sheet(image, [labels, *predicted], colours)
        return sheets


def train_segmenter(
    config: TrainConfig,
    train: Sequence[ScaleCache],
    val: ScaleCache,
    device: torch.device,
    folder: Path,
    log: RunLog,
) -> nn.Module:
    """Train the segmenter; returns its weights after the last step, or their average.

    Args:
        config: the run; its ``iterations`` are counted out.
        train: images to train on.
        val: images to validate on.
        device: where to train.
        folder: of the run; checkpoints go to ``segmenter`` in it.
        log: of the run.

    Raises:
        MagNetError, SystemExit: see :func:`magnet.training.loop.train`.
    """
    seed_everything(config.seed)
    network = new_network(config, val.dataset)
    source = SampleSource(train, config.segmenter.scale_weights)
    task = SegmenterTask(config, to_device(network, device), source, val, device)
    return loop.train(task, config, device, folder / task.name, log)


def keep_segmenter(config: TrainConfig, val: ScaleCache, device: torch.device, folder: Path, log: RunLog) -> None:
    """In place of the first stage, for a network that is finished: validate it, and write its weights as the best.

    Arguments are those of :func:`train_segmenter`. A run that goes on does neither, if the weights are those it began
    with.

    Raises:
        MagNetError: the network does not fit, or the run began with other weights.
    """
    network = finished_network(config, val.dataset)
    path = folder / SegmenterTask.name / "best.safetensors"
    if config.resume and path.is_file():
        before = load_safetensors(path)[0]
        own = network.state_dict()
        if before.keys() != own.keys() or not all(torch.equal(before[key], own[key]) for key in own):
            raise MagNetError(
                f"resume: '{path}' holds other weights than the finished segmenter has now; start anew under another "
                "--name, or with --overwrite"
            )
        return
    network = to_device(network, device).eval().requires_grad_(False)
    scores = validate_segmenter(network, val, config.input_size, config.segmenter.val_images, device, config.amp)
    log.begin(SegmenterTask.name, -1)
    log.write(stage=SegmenterTask.name, step=0, **scores)
    if is_main():
        tqdm.write(f"segmenter: is not trained; val mIoU by scale {scores['miou']}")
        (folder / "refiner" / STATE).unlink(missing_ok=True)  # of another segmenter
        save_weights(network, path, step=0, score=sum(scores["miou"]) / len(scores["miou"]))
