"""Which backends are live here: every test of an operator runs on each of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import magnet_kernels
from magnet_kernels import available_backends

ROOT = Path(magnet_kernels.__file__).parent.parent
DEVICES = {"reference": "cpu", "cpu": "cpu", "cuda": "cuda", "triton": "cuda"}


def live(operator: str) -> list[str]:
    """Names of the backends that can run ``operator`` here."""
    return [backend for backend, reason in available_backends()[operator].items() if reason == "ok"]


def on_live_backends(operator: str, *, but_not: str | None = None) -> pytest.MarkDecorator:
    """Run the test once for each live backend of ``operator`` (but one), as argument ``backend``."""
    return pytest.mark.parametrize("backend", [backend for backend in live(operator) if backend != but_not])


def on_live_devices(operator: str) -> pytest.MarkDecorator:
    """Run the test once for each device that a live backend of ``operator`` works on, as argument ``device``."""
    return pytest.mark.parametrize("device", sorted({DEVICES[backend] for backend in live(operator)}))


def environment_of_a_program(*folders: Path, **variables: str) -> dict[str, str]:
    """For a subprocess: these folders and the package under test are importable, and no backend is forced."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAGNET_")}
    path = os.pathsep.join(map(str, (*folders, ROOT)))
    return {**environment, "PYTHONPATH": path, **variables}
