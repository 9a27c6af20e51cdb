"""What is timed: one operator on one kind of input, ours on every live backend beside what users would write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gpu.arithmetic import Shape
from gpu.inputs import CLUSTERED

Compare = Callable[[Any, Any, tuple[Any, ...]], None]


@dataclass(frozen=True)
class Case:
    """One line of the report.

    ``make(seed)`` gives the arguments, random ones; ``ours(backend)`` and the values of ``rivals`` are functions of
    them. Where ``in_place`` the first argument is written and must be restored before each round. ``combined`` are
    rivals made of our own operators: functions of the backend that give a function of the arguments.
    """

    name: str
    operator: str
    shape: Shape
    dtype: torch.dtype
    bytes_moved: int
    memory: int  # of one set of arguments
    make: Callable[[int], tuple[Any, ...]]
    ours: Callable[[str], Callable[..., Any]]
    same: Compare
    rivals: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    combined: Mapping[str, Callable[[str], Callable[..., Any]]] = field(default_factory=dict)
    same_rival: Compare | None = None
    same_of: Mapping[str, Compare] = field(default_factory=dict)  # of single rivals
    n_points: int = 0
    scores: str = CLUSTERED
    in_place: bool = False

    @property
    def key(self) -> str:
        """As in "refine_step_ 1x19x1024x2048 float32 K=65536 flat": what targets are found by."""
        text = f"{self.name} {'x'.join(map(str, self.shape))} {str(self.dtype).removeprefix('torch.')}"
        text += f" K={self.n_points}" if self.n_points else ""
        return text if self.scores == CLUSTERED else f"{text} {self.scores}"
