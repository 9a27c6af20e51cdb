"""What the walks over images and rasters need of a MagNet, which itself offers them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.images.match_colours import OwnStatistics
from magnet.images.rasters.input_settings import InputSettings
from magnet.walk.plan import Plan
from magnet.walk.settings import Inference, WalkSettings
from magnet.walk.stage import WalkStage
from magnet.walk.views import Views

__all__ = ["Walker"]


class Walker(Protocol):
    """What walks: a MagNet."""

    num_classes: int | None
    class_names: list[str] | None
    colours: list[tuple[int, int, int]] | None
    info: dict[str, Any] | None
    inputs: InputSettings

    @property
    def device(self) -> torch.device: ...

    def count_classes(self, size: Size, channels: int, inference: Inference | None = None) -> int: ...

    def evaluating(self) -> contextlib.AbstractContextManager[None]: ...

    def matched(
        self, images: Tensor, settings: WalkSettings | None = None, seen: Tensor | OwnStatistics | None = None
    ) -> Tensor: ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def _stages(
        self, settings: WalkSettings, plan: Plan, source: Tensor | Views | np.ndarray, *, labels_only: bool = False
    ) -> Iterator[WalkStage]: ...
