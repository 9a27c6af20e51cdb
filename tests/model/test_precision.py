"""The precision that networks run in: what "auto" takes, what is said where bfloat16 is slow or cannot be had."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import magnet
from magnet import devices
from magnet.cli.data_options import amp_of
from magnet.cli.main import main
from magnet.devices import pick_amp
from magnet.errors import MagNetError
from magnet.training.config import TrainConfig, WalkConfig

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes this processor one with or without bfloat16, of which nothing was said yet."""

    def has(bf16: bool) -> None:
        monkeypatch.setattr(devices, "_CPU_BF16", bf16)
        devices._tell_slow_bf16.cache_clear()

    yield has
    devices._tell_slow_bf16.cache_clear()


class Watching(nn.Module):
    """Answers alike everywhere, and keeps the type that a convolution had."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.types = nn.Conv2d(3, 2, 1), []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images)
        self.types.append(logits.dtype)
        return logits


def seen_types(amp: str) -> list[torch.dtype]:
    network = Watching()
    model = magnet.MagNet(network, None, scales=[(8, 8), (16, 16)], patch_size=(8, 8), n_points=0.5, amp=amp).eval()
    model.predict(np.zeros((16, 16, 3), dtype=np.uint8))
    return sorted(set(network.types), key=str)


@pytest.mark.parametrize(("bf16", "taken"), [(True, "bf16"), (False, "none")])
def test_auto_takes_what_the_processor_computes_in(processor: Any, bf16: bool, taken: str) -> None:
    processor(bf16)
    assert pick_amp(CPU, "auto") == taken
    assert seen_types("auto") == [torch.bfloat16 if bf16 else torch.float32]


@pytest.mark.skipif(not CPUINFO.is_file() or platform.machine() != "x86_64", reason="flags of Linux on x86-64")
def test_it_is_what_the_flags_of_the_processor_say() -> None:
    flags = set(next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")).split())
    assert devices.computes_bf16(CPU) is bool(flags & {"avx512bw", "avx_ne_convert"})


@pytest.mark.parametrize("run", [seen_types, lambda amp: pick_amp(CPU, amp)])
def test_slow_bfloat16_is_told_once(processor: Any, caplog: pytest.LogCaptureFixture, run: Any) -> None:
    processor(False)
    for amp in ("none", "auto"):
        run(amp)
    assert not caplog.records
    assert run("bf16") in ("bf16", [torch.bfloat16])  # as asked
    run("bf16")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "amp: networks are many times slower in bf16" in record.message and "--amp auto" in record.message
    processor(True)
    run("bf16")
    assert len(caplog.records) == 1


def test_a_compiled_model_asks_nothing(processor: Any, caplog: pytest.LogCaptureFixture) -> None:
    network = Watching()
    model = magnet.MagNet(network, None, scales=[(8, 8)], patch_size=(8, 8), n_points=1.0, amp="auto").eval()
    images = torch.zeros(1, 3, 8, 8)
    processor(False)
    for amp in ("auto", "bf16"):
        torch.compile(model.with_settings(amp=amp).segment, backend="eager", fullgraph=True)(images)
    assert network.types == [torch.float32, torch.bfloat16]
    assert not [record for record in caplog.records if record.name == "magnet"]


def test_a_precision_that_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("could not create a primitive\nwith more lines")

    assert pick_amp(CPU, "fp16") == "fp16"
    monkeypatch.setattr(devices, "autocast", fails)
    assert pick_amp(CPU, "none") == "none"
    with pytest.raises(MagNetError, match=r"^amp: torch cannot compute convolutions in fp16 on this cpu .*primitive\)"):
        pick_amp(CPU, "fp16")


@pytest.mark.parametrize(("trained", "run"), [("none", "none"), ("bf16", "bf16"), ("auto", "auto"), ("fp16", "none")])
def test_networks_run_as_they_learnt(trained: Any, run: str) -> None:
    walk = WalkConfig(scales=[(8, 8)], patch_size=(8, 8))
    assert amp_of(TrainConfig(name="a", walk=walk, amp=trained)) == run
    assert amp_of(None) == "none"


def test_an_evaluation_says_what_auto_took(processor: Any, tmp_path: Path) -> None:
    processor(False)
    data = tmp_path / "data"
    assert (
        main(["scenes", "--out", str(data), "--train", "0", "--val", "0", "--test", "1", "--size", "256", "256"]) == 0
    )
    out = tmp_path / "metrics.json"
    words = ["eval", "--model", "scenes", "--data", str(data), "--amp", "auto", "--modes", "coarse", "--out", str(out)]
    assert main(words) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["amp"] == "none"
