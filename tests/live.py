"""Which backends are live here: every test of an operator runs on each of them.

``pytest -m ptx`` has others: what nvcc and Triton compile, run on the CPU by the emulator in tests/ptx.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

import magnet_kernels
from magnet_kernels import available_backends

ROOT = Path(magnet_kernels.__file__).parent.parent
DEVICES = {
    "reference": "cpu",
    "cpu": "cpu",
    "cuda": "cuda",
    "triton": "cuda",
    "cuda_sm_80": "cpu",
    "cuda_sm_90": "cpu",
    "triton_sm_90": "cpu",
}
EMULATED = ("cuda_sm_80", "cuda_sm_90", "triton_sm_90")
_MARKS = {"triton": pytest.mark.triton, **dict.fromkeys(EMULATED, pytest.mark.ptx)}
emulated = False  # set by conftest.py, with pytest -m ptx


def live(operator: str) -> list[str]:
    """Names of the backends that can run ``operator`` here."""
    if emulated:
        from ptx import backends

        return ["cpu", *backends.live(operator)]
    return [backend for backend, reason in available_backends()[operator].items() if reason == "ok"]


def _parameters(backends: list[str]) -> list[object]:
    return [pytest.param(backend, marks=_MARKS.get(backend, ())) for backend in backends]


def on_live_backends(operator: str, *, but_not: str | None = None) -> pytest.MarkDecorator:
    """Run the test once for each live backend of ``operator`` (but one), as argument ``backend``."""
    return pytest.mark.parametrize("backend", _parameters([name for name in live(operator) if name != but_not]))


def on_emulated_backends(*chosen: str) -> pytest.MarkDecorator:
    """Run the test once for each backend (or chosen one) that is emulated, as argument ``backend``; with -m ptx."""
    names = list(chosen or EMULATED)
    if emulated:
        from ptx import backends

        names = [name for name in names if backends.why_not(name) is None]
    return pytest.mark.parametrize("backend", _parameters(names))


def on_live_devices(operator: str) -> pytest.MarkDecorator:
    """Run the test once for each device that a live backend of ``operator`` works on, as argument ``device``."""
    return pytest.mark.parametrize("device", sorted({DEVICES[backend] for backend in live(operator)}))


def dirty_memory(device: str) -> None:
    """What is allocated next lies, most likely, where bytes of 255 did: what reads it unwritten shows."""
    sizes = [2**k + half * 2 ** (k - 1) for k in range(6, 23) for half in (0, 1)] * 2
    held = [torch.full((size,), 255, dtype=torch.uint8, device=device) for size in sizes]
    del held


def at_most(examples: int) -> settings:
    """As many examples of a property, or as few as the profile says where that is less; exploring, all of its many."""
    profile = settings.default.max_examples
    return settings(max_examples=profile if profile > 100 else min(examples, profile))


def gradcheck(run: Callable[..., Any], *inputs: torch.Tensor, **tolerances: float) -> bool:
    """torch's gradcheck; where kernels are slow along random directions, which take two calls instead of hundreds."""
    return torch.autograd.gradcheck(run, inputs, fast_mode=emulated, **tolerances)


def environment_of_a_program(*folders: Path, **variables: str) -> dict[str, str]:
    """For a subprocess: these folders and the package under test are importable, and no backend is forced."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAGNET_")}
    path = os.pathsep.join(map(str, (*folders, ROOT)))
    return {**environment, "PYTHONPATH": path, **variables}
