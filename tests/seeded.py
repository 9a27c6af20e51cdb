"""Weights and inputs made from names, so that golden figures need no stored weights.

Every tensor comes from a generator seeded with the CRC-32 of its name: the same name gives the same numbers everywhere.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

DATA = Path(__file__).parent / "golden"


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def randn(name: str, *shape: int) -> Tensor:
    """Standard normal tensor of ``shape``, from its name."""
    return torch.randn(*shape, generator=_generator(name))


def rand(name: str, *shape: int) -> Tensor:
    """Uniform [0, 1) tensor of ``shape``, from its name."""
    return torch.rand(*shape, generator=_generator(name))


def randint(name: str, high: int, *shape: int) -> Tensor:
    """Integers in [0, high) of ``shape``, from their name."""
    return torch.randint(0, high, shape, generator=_generator(name))


def probs(name: str, n: int, c: int, h: int, w: int) -> Tensor:
    """Probabilities (n, c, h, w) that look like a network's: smooth regions with some noise."""
    low = randn(f"{name}.lo", n, c, max(2, h // 8), max(2, w // 8)) * 3
    smooth = F.interpolate(low, (h, w), mode="bilinear", align_corners=False)
    return (smooth + 0.3 * randn(f"{name}.hi", n, c, h, w)).softmax(1)


def tensor_for(key: str, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The value of the state-dict entry ``key``, as the golden figures were made."""
    shape = tuple(shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        return rand(key, *shape) + 0.5
    if last in ("running_mean", "bias"):
        return randn(key, *shape) * 0.1
    if len(shape) == 1:
        return rand(key, *shape) * 0.5 + 0.75
    return randn(key, *shape) * math.sqrt(0.7 / math.prod(shape[1:]))


def seeded_state(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """A state dict for ``module``, each tensor made from ``prefix + key`` (keys themselves without the prefix)."""
    return {key: tensor_for(prefix + key, value.shape) for key, value in module.state_dict().items()}


def seed_module(module: nn.Module, prefix: str = "") -> nn.Module:
    """Load :func:`seeded_state` into ``module``, put it in eval mode and return it."""
    module.load_state_dict(seeded_state(module, prefix), strict=True)
    return module.eval()


def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of ``tests/golden/<name>.npz``."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def golden_keys(model: str) -> list[tuple[str, tuple[int, ...], str]]:
    """(key, shape, dtype) of a golden state dict, in order; ``model`` as in ``"psp/19"``."""
    entries = json.loads((DATA / "state_dicts.json").read_text())[model]
    return [(key, tuple(shape), dtype) for key, shape, dtype in entries]
