"""Whether two models have the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import torch

__all__ = ["weights_digest"]


class _HasState(Protocol):
    def state_dict(self) -> Mapping[str, Any]: ...


def weights_digest(model: _HasState) -> str:
    """SHA-256 of the names, shapes, types and values of a model's parameters and buffers, wherever they are."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
