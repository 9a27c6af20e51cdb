"""Which backends are live here: every test of an operator runs on each of them."""

from __future__ import annotations

import pytest
from magnet_kernels import available_backends

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
