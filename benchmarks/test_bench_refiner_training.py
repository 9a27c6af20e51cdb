"""Steps of refiner training, ours against the release's way: one patch at a time, eager, in float32.

On a GPU with the Cityscapes network, elsewhere with `compact`. Both get the same chains, made beforehand.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from targets import LEAST_REFINER_TRAINING
from torch import Tensor, nn

import magnet
from magnet.cli.config import parse_config
from magnet.devices import to_device
from magnet.training import loop as engine
from magnet.training.chains import Chain, ChainBatch, ChainSamples
from magnet.training.config import TrainConfig
from magnet.training.losses import ohem_cross_entropy
from magnet.training.pairs import PairMaker, build_refiners
from magnet.training.refiner import RefinerTask
from magnet.training.runlog import RunLog
from magnet.training.task import Validation

CLASSES, WARMUP = 19, 3


class _Chains(ChainSamples):
    """The same chains in every step; notes when each step asks for its own."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains, self.times, self._next = list(chains), list[float](), 0

    def draw(self, rng: np.random.Generator) -> Chain:
        self._next += 1
        return self.chains[self._next % len(self.chains)]

    def collate(self, samples: Sequence[Chain]) -> ChainBatch:
        self.times.append(time.perf_counter())
        return super().collate(samples)


class _Task(RefinerTask):
    def validate(self, network: nn.Module) -> Validation:
        self.samples.times.append(time.perf_counter())  # type: ignore[attr-defined]
        return Validation(0.0, {}, "none")


def _chain(config: TrainConfig, seed: int) -> Chain:
    generator = torch.Generator().manual_seed(seed)
    count, (h, w) = len(config.walk.scales), config.input_size
    images = torch.randn(count, 3, h, w, generator=generator)
    labels = torch.randint(0, CLASSES, (count, h // 8, w // 8), generator=generator, dtype=torch.uint8)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return Chain(images, labels, [(0, 0)] * count, (False, False), [], str(seed))


class _NoImages(list[None]):
    """What a task wants to know of validation images where there are none."""

    dataset = SimpleNamespace(num_classes=CLASSES)


def _ours(config: TrainConfig, segmenter: nn.Module, chains: Sequence[Chain], device: torch.device, out: Path) -> float:
    """Median seconds of a step of the training loop."""
    network = to_device(build_refiners(config, CLASSES), device)
    task = _Task(config, network, segmenter, [], _NoImages(), device, {})  # type: ignore[arg-type]
    samples = task.samples = _Chains(chains)
    engine.train(task, config, device, out, RunLog(None))
    return statistics.median(np.diff(samples.times[WARMUP:]).tolist())


def _release(config: TrainConfig, segmenter: nn.Module, chains: Sequence[Chain], device: torch.device) -> float:
    """Median seconds of a step of the plain loop."""
    stage = config.refiner
    maker = PairMaker(config, segmenter, config.network_sizes, device)  # for its enlarging alone
    refiner = magnet.RefinementModule(CLASSES).to(device).train()
    optimiser = torch.optim.SGD(
        refiner.parameters(), stage.optim.lr, momentum=stage.optim.momentum, weight_decay=stage.optim.weight_decay
    )
    times = []
    for _ in range(stage.iterations):
        start = time.perf_counter()
        optimiser.zero_grad()
        for chain in chains:
            images, labels = chain.images.to(device), chain.labels.to(device).long()
            with torch.no_grad():
                whole = segmenter(images[:1]).softmax(dim=1)
            for scale in range(1, len(images)):
                with torch.no_grad():
                    fine = segmenter(images[scale : scale + 1]).softmax(dim=1)
                    coarse = maker._coarse(chain, whole, scale)
                loss = _loss(refiner(fine, coarse), labels[scale : scale + 1], config)
                (loss / len(chains) / (len(images) - 1)).backward()
        assert np.isfinite(float(loss))
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARMUP:])


def _loss(logits: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    stage = config.refiner
    return ohem_cross_entropy(logits, labels, threshold=stage.ohem_threshold, min_kept=stage.ohem_min_kept)


def test_refiner_training(report, tmp_path: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    network, batch, steps, rounds = ("hrnet18+ocr", 8, 30, 3) if gpu else ("compact", 2, 7, 1)
    settings = {
        "device": device.type,
        "amp": "bf16",
        "data.workers": "0",
        "refiner.iterations": str(steps),
        "refiner.batch_size": str(batch),
        "refiner.val_every": "0",
        "out": str(tmp_path),
    }
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    config = parse_config(["--config", "cityscapes", *words])
    chains = [_chain(config, seed) for seed in range(batch)]
    plain = magnet.build_segmenter(network, CLASSES).to(device).eval().requires_grad_(False)
    own = to_device(copy.deepcopy(plain), device)
    took: dict[str, list[float]] = {"ours": [], "release's": []}
    with torch.enable_grad():
        for number in range(rounds):  # in turns
            took["ours"].append(_ours(config, own, chains, device, tmp_path / str(number)))
            took["release's"].append(_release(config, plain, chains, device))
    seconds = {name: statistics.median(values) for name, values in took.items()}
    ratio = seconds["release's"] / seconds["ours"]
    report.training.update({f"{name}, {network}, {batch} chains": 1 / value for name, value in seconds.items()})
    report.training["ratio"] = ratio
    if gpu:
        assert ratio >= LEAST_REFINER_TRAINING, f"{ratio:.2f} times the release's way"
