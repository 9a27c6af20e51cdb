"""The folder of a run: its configuration, and what a run may replace there."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path
from magnet.files.reading import read_json
from magnet.model.pretrained import check_model_folder
from magnet.training.config import TrainConfig
from magnet.training.resume import free_to_change

__all__ = ["STATE", "check_run_folder", "write_config"]

STATE = "state.safetensors"
_CONFIG, _LOG = "config.json", "log.jsonl"
_FILES = ("best.safetensors", "last.safetensors", STATE)  # of a stage


def write_config(config: TrainConfig, folder: Path) -> None:
    """Write the configuration as ``--config`` takes it: what one call asked for is no part of the run."""
    with atomic_path(folder / _CONFIG) as temporary:
        temporary.write_text(json.dumps(_values(config), indent=2) + "\n", encoding="utf-8")


def check_run_folder(folder: Path, stages: Sequence[str], config: TrainConfig) -> None:
    """Refuse to replace what is of no run, of another run, or of this run where it is not resumed.

    Args:
        folder: the run's.
        stages: to be trained now.
        config: the run; ``overwrite`` lets everything be replaced, ``resume`` what a stage goes on from. Where there is
            no state to go on from, because the run was killed before its first, the configuration tells whether the
            files are of the same run.

    Raises:
        MagNetError: a file is in the way.
    """
    if config.overwrite:
        return
    before = _stored(folder / _CONFIG)
    for name in (_CONFIG, _LOG):
        if os.path.lexists(folder / name) and before is None:
            raise MagNetError(
                f"--out: '{folder / name}' is there already, and is not of a training run; choose another --name or "
                "--out, or replace it with --overwrite"
            )
    if "refiner" in stages:
        check_model_folder(folder / "model", argument="--out")
    anew = [stage for stage in stages if not (config.resume and _goes_on(config, stage, folder / stage))]
    if not anew or (config.resume and before == _settings(_values(config), before)):
        return
    # a refiner belongs to its segmenter
    concerned = ["segmenter", "refiner"] if "segmenter" in anew else anew
    files = [folder / stage / name for stage in concerned for name in _FILES]
    files += [folder / "model" / _CONFIG] if "refiner" in anew else []
    taken = next((path for path in files if os.path.lexists(path)), None)
    if taken is None:
        return
    if config.resume:
        raise MagNetError(
            f"resume: '{taken}' is of a run with other settings, and the {anew[0]} has no training state to go on "
            "from; choose another --name, or start it anew and replace the file with --overwrite"
        )
    raise MagNetError(
        f"--out: '{taken}' of an earlier run is there already; go on with that run with --resume, choose another "
        "--name, or start anew and replace it with --overwrite"
    )


def _goes_on(config: TrainConfig, stage: str, folder: Path) -> bool:
    """Whether there is what a stage goes on from; a segmenter that is not trained has no state."""
    frozen = stage == "segmenter" and not config.segmenter.train
    return (folder / ("best.safetensors" if frozen else STATE)).is_file()


def _values(config: TrainConfig) -> dict[str, Any]:
    values = dataclasses.replace(config, resume=False, overwrite=False).as_file()
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _stored(path: Path) -> dict[str, Any] | None:
    """The settings of a run's config.json; None where it is none."""
    try:
        values = read_json(path, "config") if path.is_file() else None
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or not {"name", "walk", "segmenter", "refiner"} <= set(values):
        return None
    return _settings(values)


def _settings(values: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Without what may differ between a run and its continuation; what was measured is as ``before``."""
    kept = {key: value for key, value in values.items() if not free_to_change(key)}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if not free_to_change(f"data.{key}")}
        if kept["data"].get("value_range") == "percentile" and before is not None:
            kept["data"]["value_range"] = before["data"].get("value_range")
    return kept
