"""Scalars and pictures for TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magnet.errors import MagNetError
from magnet.files.atomic import errors_name

__all__ = ["Board", "check_tensorboard"]


def check_tensorboard() -> None:
    """Raise MagNetError unless the package tensorboard is there."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MagNetError(
            "tensorboard: the package is not installed; pip install tensorboard, or leave out --tensorboard"
        )


class Board:
    """Event files of one stage.

    Args:
        folder: where they go; None: nothing is written.
        step: steps done before; what an interrupted run wrote beyond them is not shown.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._folder = folder
            with errors_name(folder):
                self._writer = SummaryWriter(folder, purge_step=step)  # type: ignore[no-untyped-call]

    @property
    def live(self) -> bool:
        return self._writer is not None

    def scalars(self, group: str, step: int, values: Mapping[str, object]) -> None:
        """Numbers, and lists of them (one curve for each place), under ``group``."""
        if self._writer is None:
            return
        for name, value in values.items():
            numbers = value if isinstance(value, list) else [value]
            for place, number in enumerate(numbers):
                if isinstance(number, (int, float)):
                    tag = f"{group}/{name}" + (f"/{place}" if isinstance(value, list) else "")
                    with errors_name(self._folder):
                        self._writer.add_scalar(tag, number, step)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """(H, W, 3) uint8 pictures by name."""
        if self._writer is None:
            return
        with errors_name(self._folder):
            for name, picture in pictures.items():
                self._writer.add_image(name, picture, step, dataformats="HWC")
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            with errors_name(self._folder):
                self._writer.close()
