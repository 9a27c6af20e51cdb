"""benchmarks/gpu/whole.py: what it compares, what counts as wrong and its exit code, with models that only pretend."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gpu import whole
from live import environment_of_a_program

import magnet
from magnet_kernels import _backends

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [(np.zeros((8, 16, 3), np.uint8), np.arange(128, dtype=np.uint8).reshape(8, 16) % 8) for _ in range(2)]
CPU = ("cpu", "cpu")
REFERENCE = ("cpu", "reference")


class Pretender(torch.nn.Module):
    """Gives the right labels; on one backend so many wrong ones, or an error."""

    def __init__(self, bad: str = "", wrong: int = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.bad, self.wrong, self.error = bad, wrong, error

    def predict(self, image: np.ndarray, *, probabilities: bool, **changes: Any) -> SimpleNamespace:
        assert not probabilities
        labels = torch.from_numpy(PAIRS[0][1].copy())
        if self.bad == _backends._FORCED:
            if self.error is not None:
                raise self.error
            labels.view(-1)[: self.wrong] = 7 - labels.view(-1)[: self.wrong]
        return SimpleNamespace(labels=labels)


def lines(model: Pretender, pairs: list[Any] = PAIRS) -> list[whole.Line]:
    return whole.lines_of("scenes", [(model, *CPU), (model, *REFERENCE)], pairs, 1)


def test_each_line_is_held_against_the_first(capsys):
    first, second = lines(Pretender())
    assert math.isnan(first.alike) and second.alike == 1 and first.mean_iou == second.mean_iou == 100
    first, second = lines(Pretender("reference", wrong=32))
    assert math.isnan(first.alike) and second.alike == 0.75 and second.mean_iou < first.mean_iou == 100
    assert "75.000% as the first" in capsys.readouterr().out
    assert _backends._FORCED == "auto"


def test_without_labels_there_is_no_score():
    first, second = lines(Pretender(), [(image, None) for image, _ in PAIRS])
    assert math.isnan(first.mean_iou) and math.isnan(second.mean_iou) and second.alike == 1


@pytest.mark.parametrize("bad", [0, 1])
def test_a_line_that_fails_costs_only_itself(capsys, bad):
    made = lines(Pretender((CPU, REFERENCE)[bad][1], error=RuntimeError("no kernel\nof this")))
    assert made[bad].alike == 0 and math.isnan(made[bad].seconds)
    assert made[1 - bad].mean_iou == 100 and math.isnan(made[1 - bad].alike)
    assert "FAILED: RuntimeError: no kernel\n" in capsys.readouterr().out


def test_labels_of_another_size_fail():
    model = Pretender()
    other = SimpleNamespace(predict=lambda image, **_: SimpleNamespace(labels=torch.zeros(3, 4, dtype=torch.int64)))
    made = whole.lines_of("scenes", [(model, *CPU), (other, *REFERENCE)], PAIRS, 1)
    assert made[1].alike == 0


def run_main(monkeypatch: pytest.MonkeyPatch, folder: Path, shipped: Pretender, random: Pretender) -> int:
    monkeypatch.setattr(whole, "scenes", lambda size, count: PAIRS[:count])
    monkeypatch.setattr(whole, "live_backends", lambda operator, device: ["cpu"])
    monkeypatch.setattr(magnet.MagNet, "from_pretrained", lambda name: shipped)
    monkeypatch.setattr(whole, "cityscapes", lambda *arguments: random)
    threads = torch.get_num_threads()
    try:
        return whole.main(["--device", "cpu", "--divide", "4", "--out", str(folder)])
    finally:
        torch.set_num_threads(threads)


def test_all_is_well(monkeypatch, tmp_path, capsys):
    assert run_main(monkeypatch, tmp_path, Pretender(), Pretender()) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 wrong; ms, backends cpu reference: scenes ")
    written = json.loads((tmp_path / "whole.json").read_text())
    assert [line["backend"] for line in written] == ["cpu", "cpu", "reference", *["cpu", "reference"] * 4]
    assert len({line["model"] for line in written}) == 5


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        ({"bad": "reference", "wrong": 2}, 1),  # 98.4% alike, less than LEAST_ALIKE
        ({"bad": "reference", "error": ValueError("")}, 1),
        ({"bad": "cpu", "error": ValueError("")}, 2),  # of the scenes: on the CPU, and on the device
    ],
)
def test_what_is_wrong_is_the_exit_code(monkeypatch, tmp_path, capsys, bad, count):
    assert whole.LEAST_ALIKE > 1 - 2 / 128
    for shipped, random, times in ((Pretender(**bad), Pretender(), 1), (Pretender(), Pretender(**bad), 4)):
        assert run_main(monkeypatch, tmp_path, shipped, random) == 1
        wrong = count if times == 1 else 4
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"{wrong} wrong; ")


def test_without_a_kernel_on_the_gpu_nothing_is_compared(monkeypatch, capsys):
    monkeypatch.setattr(whole, "live_backends", lambda operator, device: [])
    assert whole.main([]) == 1
    assert capsys.readouterr().out == "no compiled backend is live here\n"


def test_pydantic_and_yaml_are_not_needed():
    """Nor by what else draws a scene, scores labels or opens a shipped model."""
    program = (
        "import sys; sys.modules['pydantic'] = sys.modules['yaml'] = None\n"
        "from gpu import whole; import magnet\n"
        "(image, labels), = whole.scenes((256, 512), 1)\n"
        "print(whole.quality([whole.torch.from_numpy(labels)], [(image, labels)]))\n"
        "magnet.MagNet.from_pretrained('scenes')\n"
        "from magnet.data import IGNORE_INDEX\n"
        "print(IGNORE_INDEX)"
    )
    environment = environment_of_a_program(ROOT / "benchmarks")
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["100.0", "255"], run.stderr


@pytest.mark.slow
def test_a_network_of_cityscapes_on_each_backend_of_the_cpu():
    sizes = [(32, 64), (64, 128)]
    model = whole.cityscapes(torch.device("cpu"), "none", sizes, 500)
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    backends = [*whole.live_backends("refine_stage", "cpu"), whole.REFERENCE]
    for changes in ({}, {"n_patches": 2}):
        made = whole.lines_of("tiny", [(model, "cpu", b) for b in backends], [(image, None)], 1, **changes)
        assert all(line.alike >= whole.LEAST_ALIKE for line in made[1:])
        assert all(line.seconds > 0 and line.peak_mib == 0 for line in made)
