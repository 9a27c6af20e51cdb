"""State dicts as safetensors files, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from magnet.checkpoints.errors import unreadable
from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path
from magnet.files.reading import check_file

__all__ = ["load_safetensors", "save_safetensors"]


_HALF_MAX = torch.finfo(torch.float16).max


def save_safetensors(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a state dict, whole or not at all.

    Args:
        path: the file to make or replace; its folder exists.
        state: key -> tensor, on any device.
        metadata: short texts stored beside the tensors.
        half: store floats of two or more dimensions in half precision; statistics and biases, small and sensitive,
            stay as they are.

    Raises:
        ValueError: ``half`` and a weight that half precision cannot hold.
        MagNetError: the file cannot be written.
    """
    tensors = {}
    for key, tensor in state.items():
        # clones: safetensors refuses tensors that share memory
        value = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        if half and value.is_floating_point() and value.ndim >= 2:
            if value.numel() and not bool((value.abs() <= _HALF_MAX).all()):
                raise ValueError(f"half: '{key}' holds values beyond {_HALF_MAX:.0f} or NaN; save with half=False")
            value = value.half()
        tensors[key] = value
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise MagNetError(
            f"weights: '{path}' could not be written ({error}); choose a folder that exists and has room"
        ) from error


def load_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`save_safetensors` wrote: the state dict (half precision becomes float32) and the metadata.

    Raises:
        MagNetError: the file is missing, truncated or corrupt.
    """
    try:
        check_file(path, "weights")
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except (MagNetError, MemoryError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    state = {key: value.float() if value.dtype == torch.float16 else value for key, value in state.items()}
    return state, metadata
