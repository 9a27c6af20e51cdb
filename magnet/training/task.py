"""What the loop asks of a stage, and how far a stage is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from magnet.training.config import RefinerConfig, SegmenterConfig
from magnet.training.loader import Samples
from magnet.training.losses import Loss

__all__ = ["Logits", "Progress", "Task", "Validation"]

Logits = Tensor | Sequence[Tensor]


class Validation(NamedTuple):
    """score: the higher, the better; scores: for the log; text: for people."""

    score: float
    scores: dict[str, Any]
    text: str


class Task(Protocol):
    """What a stage is about.

    A step has one or more losses ("terms"), whose mean is minimised. ``origin`` is what the stage builds on: a training
    state of another origin is not continued.
    """

    @property
    def name(self) -> str: ...  # of the stage: its folder, its section of the configuration
    @property
    def number(self) -> int: ...  # of the stage, in the key of every sample's generator
    @property
    def settings(self) -> SegmenterConfig | RefinerConfig: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def samples(self) -> Samples: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def origin(self) -> dict[str, str]: ...
    @property
    def partly_used(self) -> bool: ...  # a step may leave parameters of the network out

    def targets(self, batch: Any) -> dict[int, Tensor]:
        """Labels (N, h, w) of each term, on the CPU."""
        ...

    def forward(self, network: nn.Module, batch: Any, step: int) -> dict[int, Logits]:
        """Logits of each term, by one call of ``network`` (self.network, or what wraps it)."""
        ...

    def validate(self, network: nn.Module) -> Validation:
        """Score a network on the validation images. It may be interrupted anywhere, so it changes nothing."""
        ...

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """(H, W, 3) uint8 pictures of a few validation images."""
        ...


@dataclasses.dataclass
class Progress:
    """How far a stage is.

    Args:
        step: optimiser steps done.
        validated: steps done at the last validation.
        best: best score so far.
        stale: validations since it was reached.
        recent: running average of the loss.
        seconds: the log's clock.
    """

    step: int = 0
    validated: int = 0
    best: float = -1.0
    stale: int = 0
    recent: float = 0.0
    seconds: float = 0.0
