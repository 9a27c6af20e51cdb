"""What a run says of its images, made sure of before it starts: one range of values for its stages and its model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from magnet.data import Dataset, LabelledFiles
from magnet.data.percentiles import measured_range
from magnet.distributed import gather_objects, is_main
from magnet.errors import MagNetError, shown
from magnet.files.reading import read_json
from magnet.images.rasters.input_settings import InputSettings
from magnet.training.config import TrainConfig

__all__ = ["declared"]

_SEEN = ("channels", "bands", "value_range")


def declared(
    config: TrainConfig, train: Sequence[Dataset], val: Dataset, folder: Path, *, go_on: bool = False
) -> TrainConfig:
    """The configuration with numbers in place of ``data.value_range: percentile``, which the data sets then read by.

    Args:
        config: the run.
        train: what is trained on, and measured.
        val: what is validated on.
        folder: of the run, which keeps its configuration with these numbers.
        go_on: the run builds on what is in the folder: its numbers count, and images must be seen as they were.

    Raises:
        MagNetError: an image cannot be measured, or the run began with other bands or values.
    """
    kept = _kept(folder / "config.json") if go_on else None
    if config.data.value_range == "percentile":
        if kept is not None and isinstance(kept.value_range, tuple):
            found: Any = kept.value_range
        else:
            files = [dataset for dataset in train if isinstance(dataset, LabelledFiles)]
            found = gather_objects([measured_range(files)] if is_main() else [])[0]
            if is_main():
                tqdm.write(f"data.value_range: {_told(found)}, measured over the training images")
        config = replace(config, data=replace(config.data, value_range=found))
    inputs = config.data.inputs
    for name in _SEEN if kept is not None else ():
        before, now = getattr(kept, name), getattr(inputs, name)
        if before != now:
            raise MagNetError(
                f"data.{name}: expected {shown(before)}, as the run '{folder}' began with, got {shown(now)}; go on "
                "with that, or start anew under another --name"
            )
    for dataset in (*train, val):
        if isinstance(dataset, LabelledFiles):
            dataset.inputs = inputs
    return config


def _told(found: Any) -> str:
    pairs = found if isinstance(found[0], tuple) else [found]
    return ", ".join(f"[{low:g}, {high:g}]" for low, high in pairs)


def _kept(path: Path) -> InputSettings | None:
    """How the run saw its images until now; None where its configuration does not say, as of older versions."""
    found: InputSettings | None = None
    if is_main():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = read_json(path, "config")["data"]
            found = InputSettings(
                channels=data["channels"], bands=tuple(data["bands"]) or None, value_range=data["value_range"]
            )
    return gather_objects([found] if is_main() else [])[0]  # type: ignore[no-any-return]
