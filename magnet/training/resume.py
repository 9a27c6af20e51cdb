"""A stage as it is saved and taken up again: what is part of its training state, and what a state must agree with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from magnet.conventions import not_finite
from magnet.distributed import gather_objects, is_main, rank
from magnet.errors import MagNetError, printable, shown
from magnet.training import state
from magnet.training.config import TrainConfig
from magnet.training.optimiser import Average, Optimiser
from magnet.training.task import Progress, Task

__all__ = ["StageState", "free_to_change"]

# settings that may differ between a run and its continuation without a word
_FREE = {"out", "stage", "device", "resume", "overwrite", "checkpoint_every", "tensorboard", "half", "info"}
_FREE |= {"trust", "data.root", "data.workers", "data.cache_mb"}


@dataclasses.dataclass
class StageState:
    """All that changes while a stage trains.

    Args:
        task: the stage, whose network learns.
        config: the run.
        device: where the network is.
        optimiser: with its schedule and scaler.
        average: of the network's weights.
        progress: how far it is.
    """

    task: Task
    config: TrainConfig
    device: torch.device
    optimiser: Optimiser
    average: Average
    progress: Progress

    def save(self, path: Path) -> None:
        """Write the training state. All processes take part, as each has random generators of its own.

        Raises:
            MagNetError: the file cannot be written.
        """
        others = gather_objects([] if is_main() else [(rank(), state.random_state(self.device)[0])])
        if not is_main():
            return
        tensors = {f"network.{key}": value for key, value in self.task.network.state_dict().items()}
        if self.average.decay > 0:
            tensors |= {f"average.{key}": value for key, value in self.average.network.state_dict().items()}
        tensors |= {
            f"optimiser.{key}": value for key, value in state.optimiser_tensors(self.optimiser.optimiser).items()
        }
        random_tensors, random_values = state.random_state(self.device)
        tensors |= {f"random.{key}": value for key, value in random_tensors.items()}
        tensors |= {f"random{number}.{key}": value for number, own in others for key, value in own.items()}
        values = {
            "progress": dataclasses.asdict(self.progress),
            "optimiser": {"name": self.task.settings.optim.name, "steps": self.optimiser.step_index},
            "scaler": self.optimiser.scaler.state_dict(),
            "average": self.average.updates,
            "random": random_values,
            "origin": self.task.origin,
            "config": _settings_of(self.config, self.task.name),
        }
        state.save_training_state(path, tensors, values)

    def restore(self, path: Path) -> None:
        """Go on from a training state.

        Raises:
            MagNetError: it is damaged, incomplete, or of another segmenter, network or optimiser.
        """
        tensors, values = state.load_training_state(path)
        try:
            _check_values(values)
            bad = not_finite(tensors)
            if bad:
                raise ValueError(f"'{bad[0]}' holds NaN or infinity")
            self._take(path, tensors, values)
        except (KeyError, IndexError) as error:
            raise MagNetError(
                f"resume: '{path}' lacks part of a training state ({error}); start again without --resume"
            ) from error
        except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
            raise MagNetError(
                f"resume: '{path}' holds what is no training state ({error}); start again without --resume"
            ) from error

    def own_generators(self) -> dict[str, Tensor]:
        """Seed torch with what no other process has, as dropout of each image must be its own; returns the state."""
        key = np.random.SeedSequence((self.config.seed, self.task.number, self.progress.step, rank()))
        torch.manual_seed(int(key.generate_state(1)[0]))
        return state.random_state(self.device)[0]

    def _take(self, path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        task = self.task
        if values["origin"] != task.origin:
            raise MagNetError(
                f"resume: '{path}' belongs to another segmenter than the one that is there now; start this stage again "
                f"with --stage {task.name}, without --resume"
            )
        was, now = values["optimiser"]["name"], task.settings.optim.name
        if was != now:
            raise MagNetError(
                f"{task.name}.optim.name: expected '{was}', as '{path}' was trained with, got '{now}'; go on with "
                f"'{was}', or start again without --resume"
            )
        changes = _changes(values["config"], _settings_of(self.config, task.name))
        if changes:
            told = printable("; ".join(changes), 2000)
            tqdm.write(f"{task.name}: goes on with other settings than before: {told}")
        state.restore_tensors(task.network, state.section(tensors, "network"), source=path)
        if self.average.decay > 0:
            kept = state.section(tensors, "average") or state.section(tensors, "network")
            state.restore_tensors(self.average.network, kept, source=path)
        state.restore_optimiser(self.optimiser.optimiser, state.section(tensors, "optimiser"))
        self.optimiser.step_index = values["optimiser"]["steps"]
        if self.optimiser.scaler.is_enabled() and values["scaler"]:
            self.optimiser.scaler.load_state_dict(values["scaler"])
        self.average.updates = values["average"]
        self.progress = Progress(**values["progress"])
        generators = state.section(tensors, "random")
        if rank() > 0:
            generators |= state.section(tensors, f"random{rank()}") or self.own_generators()
        state.restore_random_state(self.device, generators, values["random"])


def free_to_change(key: str) -> bool:
    """Whether a run may go on with another value of a key, as "out" or "data.root"."""
    return key in _FREE


def _settings_of(config: TrainConfig, stage: str) -> dict[str, Any]:
    """The configuration by dotted key, as JSON gives it back; without the other stage and what is free to change."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            key = f"{prefix}{name}"
            if key in _FREE or key == {"segmenter": "refiner", "refiner": "segmenter"}[stage]:
                continue
            if isinstance(value, dict):
                visit(f"{key}.", value)
            else:
                flat[key] = value

    visit("", json.loads(json.dumps(dataclasses.asdict(config))))
    return flat


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that both know and that differ."""
    changed = (key for key in before if key in now and before[key] != now[key])
    return [f"{key} {printable(before[key])} -> {printable(now[key])}" for key in changed]


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError where a value is of another kind than ``StageState.save`` writes."""

    def need(key: str, value: Any, *kinds: type) -> None:
        if type(value) not in kinds:  # bool is an int to isinstance
            names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
            raise TypeError(f"{key}: expected {names}, got {shown(value)}")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{key}: expected 0 or more, got {shown(value)}")

    for key in ("progress", "optimiser", "scaler", "random", "origin", "config"):
        need(key, values[key], dict)
    need("average", values["average"], int)
    for field in dataclasses.fields(Progress):
        number = (int,) if isinstance(field.default, int) else (int, float)
        need(f"progress.{field.name}", values["progress"][field.name], *number)
    need("optimiser.name", values["optimiser"]["name"], str)
    need("optimiser.steps", values["optimiser"]["steps"], int)
    generators: dict[str, list[tuple[type, ...]]] = {
        "numpy": [(str,), (int,), (int,), (int, float)],
        "python": [(int,), (float, type(None))],
    }
    for key, kinds in generators.items():
        own = values["random"][key]
        need(f"random.{key}", own, list)
        if len(own) != len(kinds):
            raise ValueError(f"random.{key}: expected {len(kinds)} values, got {shown(own)}")
        for value, allowed in zip(own, kinds, strict=True):
            need(f"random.{key}", value, *allowed)
