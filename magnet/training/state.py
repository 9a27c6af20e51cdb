"""The training state: all that a run needs to go on as if it had never stopped.

One safetensors file: tensors, and beside them plain values as JSON. Reading it runs no code, and it is replaced whole
or not at all, so that a process killed at any moment leaves the last one that was complete.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from magnet.checkpoints.fit import load_state
from magnet.checkpoints.safetensors_files import load_safetensors
from magnet.errors import MagNetError, shown
from magnet.files.atomic import atomic_path
from magnet.files.reading import parse_json

__all__ = [
    "load_training_state",
    "optimiser_tensors",
    "random_state",
    "restore_optimiser",
    "restore_random_state",
    "restore_tensors",
    "save_training_state",
    "section",
    "seed_everything",
]

_FORMAT = 1


def save_training_state(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write a state, on the disk when this returns.

    Args:
        path: the file to make or replace; its folder exists.
        tensors: by name, on any device.
        values: what JSON can hold; floats come back exactly.

    Raises:
        MagNetError: the file cannot be written.
    """
    whole = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    try:
        with atomic_path(path) as temporary:
            save_file(whole, temporary, metadata={"format": str(_FORMAT), "values": json.dumps(dict(values))})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # before the rename: else a power cut could leave the new name without its data
    except (OSError, SafetensorError) as error:
        raise MagNetError(
            f"training: the state '{path}' could not be written ({error}); make room there, and start again with "
            "--resume"
        ) from error


def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_training_state` wrote.

    Raises:
        MagNetError: the file is damaged, or no training state of this version.
    """
    try:
        tensors, metadata = load_safetensors(path)
        if metadata.get("format") != str(_FORMAT):
            raise ValueError(f"format {metadata.get('format')}")
        values = parse_json(metadata["values"])
        if not isinstance(values, dict):
            raise ValueError(f"its values are {shown(values)}")
    except (MagNetError, ValueError, KeyError) as error:
        raise MagNetError(
            f"resume: '{path}' is no training state that this version can read ({error}); start again without --resume"
        ) from error
    return tensors, values


def section(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``name`` and a dot, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def restore_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: Path) -> None:
    """Copy tensors into a network, whose layout in memory stays as it is.

    Raises:
        CheckpointError: they do not fit.
    """
    load_state(network, tensors, source=source)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's averages, as "<number of the parameter>.<name>"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo :func:`optimiser_tensors`.

    Raises:
        MagNetError: the tensors are of another optimiser or of other parameters.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    restored: dict[Tensor, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not (number.isascii() and number.isdecimal() and len(number) < 10) or int(number) >= len(parameters):
            raise MagNetError(
                f"resume: the state's optimiser has a parameter {number}, the network has not; start again without "
                "--resume"
            )
        parameter = parameters[int(number)]
        if value.ndim == 0:
            restored.setdefault(parameter, {})[name] = value.clone()
            continue
        if value.shape != parameter.shape:
            raise MagNetError(
                f"resume: the state's optimiser holds {tuple(value.shape)} for a parameter of "
                f"{tuple(parameter.shape)}; start again without --resume"
            )
        # the layout of the parameter, as before: kernels choose their arithmetic by it
        restored.setdefault(parameter, {})[name] = torch.empty_like(parameter).copy_(value)
    wanted = {"step", "exp_avg", "exp_avg_sq"} if isinstance(optimiser, torch.optim.AdamW) else {"momentum_buffer"}
    for values in restored.values():
        if set(values) != wanted:  # what is missing would be missed in the middle of a step
            raise MagNetError(
                f"resume: expected {sorted(wanted)} of each parameter in the state's optimiser, got "
                f"{shown(sorted(values))}; start again without --resume"
            )
    optimiser.state.clear()
    optimiser.state.update(restored)


def seed_everything(seed: int) -> None:
    """Seed the random generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of the random generators of torch (CPU and ``device``), numpy and Python: tensors and plain values."""
    numbers = np.random.get_state(legacy=False)
    version, words, gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
        "python": torch.tensor(words, dtype=torch.int64),
    }
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    values = {
        "numpy": [numbers["bit_generator"], numbers["state"]["pos"], numbers["has_gauss"], numbers["gauss"]],
        "python": [version, gauss],
    }
    return tensors, values


def restore_random_state(device: torch.device, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Undo :func:`random_state`. A state made without CUDA leaves the generator of a CUDA ``device`` as it is."""
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    kind, position, has_gauss, gauss = values["numpy"]
    if not 0 <= position <= tensors["numpy"].numel():  # numpy would read beyond its numbers
        raise ValueError(f"random.numpy: expected a position of 0 to {tensors['numpy'].numel()}, got {shown(position)}")
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, next_gauss = values["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), next_gauss))
