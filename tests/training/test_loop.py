"""The training loop: accumulation, mixed precision, early stopping, and what it does when something goes wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from magnet.data import IGNORE_INDEX
from magnet.data.config import DataConfig
from magnet.devices import autocast
from magnet.errors import MagNetError
from magnet.training import loop, losses
from magnet.training.board import check_tensorboard
from magnet.training.config import OptimConfig, SegmenterConfig, TrainConfig, WalkConfig
from magnet.training.losses import Loss
from magnet.training.pictures import sheet
from magnet.training.runlog import RunLog
from magnet.training.signals import Interrupted, StopSignal
from magnet.training.task import Validation

CPU = torch.device("cpu")


class Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    names: list[str]


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # the work is too small for more


class NoiseSamples:
    """Random images, whose classes are the sign of the first channel; in each another share of the pixels counts."""

    def draw(self, rng: np.random.Generator) -> Batch:
        image = torch.from_numpy(rng.normal(size=(3, 8, 8)).astype(np.float32))
        labels = (image[0] > 0).to(torch.uint8)
        labels[: int(rng.integers(7))] = IGNORE_INDEX
        return Batch(image, labels, [f"noise {rng.integers(1000)}"])

    def collate(self, samples: Sequence[Batch]) -> Batch:
        images = torch.stack([s.images for s in samples])
        return Batch(images, torch.stack([s.labels for s in samples]), [s.names[0] for s in samples])


class NoiseTask:
    """A stage that is done in milliseconds. ``scores`` are what its validations find, one after the other."""

    name, number, origin, partly_used = "segmenter", 1, {}, False

    def __init__(
        self, config: TrainConfig, network: nn.Module, scores: Sequence[float] = (), wrong_at: int = -1
    ) -> None:
        self.settings, self.network, self.samples = config.segmenter, network, NoiseSamples()
        self.loss = Loss.of(config.segmenter, 2, CPU)
        self.amp, self.scores, self.wrong_at = config.amp, list(scores), wrong_at
        self.losses: list[float] = []

    def targets(self, batch: Batch) -> dict[int, Tensor]:
        return {0: batch.labels}

    def forward(self, network: nn.Module, batch: Batch, step: int) -> dict[int, Any]:
        images = batch.images * (math.nan if step == self.wrong_at else 1)
        with autocast(CPU, self.amp):
            return {0: network(images)}

    def validate(self, network: nn.Module) -> Validation:
        assert not network.training
        score = self.scores.pop(0) if self.scores else 0.5
        return Validation(score, {"miou": [score, 2 * score]}, "")

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        return {"noise": np.full((4, 5, 3), 7, np.uint8)}


def config_of(tmp_path: Path, *, optim: OptimConfig | None = None, **settings: Any) -> TrainConfig:
    keys = {field.name for field in dataclasses.fields(SegmenterConfig)}
    stage = {key: settings.pop(key) for key in list(settings) if key in keys}
    stage = {"iterations": 4, "batch_size": 4, "val_every": 0, **stage}
    return TrainConfig(
        name="noise",
        walk=WalkConfig([(8, 8)], (8, 8)),
        out=str(tmp_path),
        data=DataConfig(workers=0),
        segmenter=SegmenterConfig(**stage, optim=optim or OptimConfig(ema=0)),
        **settings,
    )


def network_of(norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    middle = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.2)) if norm else nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), middle, nn.Conv2d(4, 2, 1))


def train(
    tmp_path: Path, network: nn.Module, *, scores: Sequence[float] = (), wrong_at: int = -1, **settings: Any
) -> Path:
    config = config_of(tmp_path, **settings)
    folder = tmp_path / "noise" / "segmenter"
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = RunLog(folder.parent / "log.jsonl")
    try:
        loop.train(NoiseTask(config, network, scores, wrong_at), config, CPU, folder, log)
    finally:
        log.close()
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]


# the step


@pytest.mark.parametrize("class_weights", [[], [1.0, 3.0]])
@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulated_parts_train_as_the_whole_batch(
    tmp_path: Path, accumulate: int, class_weights: list[float]
) -> None:
    optim = OptimConfig(name="sgd", lr=0.1, ema=0, clip=0)
    results = []
    for parts in (1, accumulate):
        network = network_of(norm=False)
        train(tmp_path / str(parts), network, accumulate=parts, class_weights=class_weights, optim=optim)
        results.append(network.state_dict())
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(results[0]["0.weight"], network_of(norm=False).state_dict()["0.weight"])


def test_terms_that_a_part_lacks_count_as_in_the_whole_batch(tmp_path: Path) -> None:
    class TwoTerms(NoiseTask):
        """The second term has the images whose first pixel counts: not in all parts."""

        def targets(self, batch: Batch) -> dict[int, Tensor]:
            rows = batch.labels[:, 0, 0] != IGNORE_INDEX
            return {0: batch.labels} | ({1: batch.labels[rows]} if rows.any() else {})

        def forward(self, network: nn.Module, batch: Batch, step: int) -> dict[int, Any]:
            rows = batch.labels[:, 0, 0] != IGNORE_INDEX
            logits = network(batch.images)
            return {0: logits, 1: logits[rows] * 3}

    states = []
    for parts in (1, 4):
        config = config_of(tmp_path, accumulate=parts, optim=OptimConfig(name="sgd", lr=0.1, ema=0))
        task = TwoTerms(config, network_of(norm=False))
        loop.train(task, config, CPU, tmp_path / str(parts), RunLog(None))
        states.append(task.network.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_trains_nearly_as_float32(tmp_path: Path, amp: str) -> None:
    results = []
    for kind in ("none", amp):
        network = network_of()
        dtypes = set()
        network[0].register_forward_hook(lambda _, __, result, seen=dtypes: seen.add(result.dtype))
        train(tmp_path / kind, network, amp=kind, optim=OptimConfig(name="sgd", lr=0.1, ema=0))
        results.append(network[2].weight.detach())
        assert {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind] in dtypes
        assert network[0].weight.dtype == torch.float32
    torch.testing.assert_close(results[1], results[0], rtol=0.05, atol=0.01)


def test_a_gradient_that_overflows_in_float16_leaves_the_step_out(tmp_path: Path) -> None:
    network = network_of()
    before = network[2].weight.detach().clone()
    hook = network[2].weight.register_hook(lambda gradient: gradient * math.inf)
    folder = train(tmp_path, network, amp="fp16", iterations=2)
    hook.remove()
    assert torch.equal(network[2].weight.detach(), before)
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        scaler = json.loads(file.metadata()["values"])["scaler"]
    assert scaler["scale"] == 2.0**14  # halved twice


def test_the_network_is_compiled_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, compiled = torch.compile, []

    def eager(network: nn.Module) -> Any:
        compiled.append(network)
        return real(network, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    networks = [network_of(), network_of()]
    torch.manual_seed(1)
    train(tmp_path / "a", networks[0], iterations=2)
    assert not compiled
    torch.manual_seed(1)
    folder = train(tmp_path / "b", networks[1], iterations=2, compile=True)
    assert compiled == [networks[1]]
    assert all(torch.equal(a, b) for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True))
    assert set(load_file(folder / "best.safetensors")) == set(networks[1].state_dict())


def test_the_pair_of_a_network_with_an_auxiliary_head_is_trained() -> None:
    logits = [torch.randn(2, 2, 8, 8, requires_grad=True) for _ in range(2)]
    labels = torch.randint(0, 2, (2, 8, 8))
    for kind in ("ce", "ohem"):
        loss = Loss.of(SegmenterConfig(loss=kind, aux_weight=0.4, dice=0.5, ohem_min_kept=20), 2, CPU)  # type: ignore[arg-type]
        alone = [loss._pixels(one, labels, ignore_index=IGNORE_INDEX) for one in logits]
        expected = alone[0] + 0.4 * alone[1] + 0.5 * losses.dice_loss(logits[0], labels)
        torch.testing.assert_close(loss(logits, labels), expected)


# stopping


def test_it_ends_when_the_score_gets_no_better(tmp_path: Path) -> None:
    folder = train(tmp_path, network_of(), iterations=9, val_every=1, patience=2, scores=[0.1, 0.3, 0.2, 0.4, 0.4, 0.3])
    lines = [line for line in log_of(folder) if "miou" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    with safe_open(folder / "best.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["step"]) == 4
    with safe_open(folder / "last.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["step"]) == 6
    train(tmp_path, network_of(), iterations=9, val_every=1, patience=2, resume=True)
    assert len(log_of(folder)) == len(lines) + 1  # it was at its end: only the line of step 0 is beside them


@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_batch_and_the_state_before_it(tmp_path: Path, cause: str) -> None:
    plain = OptimConfig(clip=0, ema=0, lr=0.01)
    reference = network_of()
    expected = train(tmp_path / "a", reference, iterations=8, optim=plain)
    network = network_of()
    wrong_at = -1
    if cause == "loss":
        wrong_at = 5
    else:
        calls = iter(range(100))
        network[2].weight.register_hook(lambda g: g * math.nan if next(calls) == 5 else g)
    with pytest.raises(
        MagNetError, match=rf"the {cause}.* became nan at step 5 of the segmenter \(lr 0\.00\d+\)"
    ) as error:
        train(tmp_path / "b", network, iterations=8, optim=plain, wrong_at=wrong_at)
    folder = tmp_path / "b" / "noise" / "segmenter"
    assert str(folder / "failed_batch.safetensors") in str(error.value)
    with safe_open(folder / "failed_batch.safetensors", framework="pt") as file:
        details = {key: json.loads(value) for key, value in file.metadata().items()}
        assert file.get_tensor("0.images").shape == (4, 3, 8, 8) and file.get_tensor("0.labels").shape == (4, 8, 8)
    assert details["step"] == 5 and len(details["images"]) == 4 and details["images"][0].startswith("noise ")
    # with the cause gone, it goes on as if nothing had been: running statistics, random numbers and all
    train(tmp_path / "b", network_of(), iterations=8, optim=plain, resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_file(expected / name), load_file(folder / name)
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_second_signal_ends_at_once_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(SystemExit) as error:
            signal.raise_signal(signal.SIGTERM)
        assert error.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    with StopSignal() as stop, pytest.raises(Interrupted), stop.interruptible():
        signal.raise_signal(signal.SIGTERM)


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# what is written


def test_the_log_tells_rate_norm_and_waiting(tmp_path: Path) -> None:
    lines = log_of(train(tmp_path, network_of(), iterations=41))
    assert [line["step"] for line in lines] == [0, 20, 40, 41]
    for line in lines[:-1]:
        assert line["grad_norm"] > 0 and 0 < line["data_wait"] < 1 and line["lr"] >= 0


def test_tensorboard_gets_scalars_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(tmp_path, network_of(), iterations=3, tensorboard=True, scores=[0.25])
    events = EventAccumulator(str(folder.parent / "tensorboard" / "segmenter"))
    events.Reload()
    assert {"train/loss", "train/lr", "train/data_wait", "val/score", "val/miou/1"} <= set(events.Tags()["scalars"])
    assert [(e.step, e.value) for e in events.Scalars("val/miou/1")] == [(3, 0.5)]
    picture = events.Images("noise")[0]
    assert (picture.step, picture.height, picture.width) == (3, 4, 5)
    assert not (train(tmp_path / "without", network_of()).parent / "tensorboard").exists()


def test_tensorboard_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MagNetError, match=r"^tensorboard: .* not installed; pip install"):
        check_tensorboard()


def test_sheets_show_image_and_labels_side_by_side() -> None:
    image = np.full((1024, 600, 3), 9, np.uint8)
    result = sheet(image, [np.ones((16, 8), np.uint8), np.full((4, 4), 255, np.uint8)], [(1, 2, 3), (4, 5, 6)])
    assert result.shape == (512, 3 * 300 + 8, 3)
    assert [tuple(result[100, x]) for x in (10, 302, 310, 620)] == [(9,) * 3, (255,) * 3, (4, 5, 6), (0, 0, 0)]
