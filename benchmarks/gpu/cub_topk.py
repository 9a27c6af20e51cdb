"""CUB's selection of the K highest scores, loaded from a library that cub_topk.cu is compiled to."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch
from torch import Tensor

from gpu.prebuilt import FOLDER

LIBRARY = FOLDER / "libcub_topk.so"
TOPK, BATCHED = 1, 2  # bits of magnet_cub_has()
BATCHED_SIDE = 64  # images of so many rows and columns are what the batched one is compiled for
_ARGUMENTS = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.c_void_p, ctypes.c_void_p]
_ARGUMENTS += [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
_FUNCTIONS = ("magnet_cub_topk", "magnet_cub_topk_ordered", "magnet_cub_batched_topk")


@functools.cache
def library() -> ctypes.CDLL:
    """GPU_CUB_LIBRARY, else that of the carried build; OSError where it is not there or does not load."""
    path = Path(os.environ.get("GPU_CUB_LIBRARY") or LIBRARY)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; benchmarks/gpu_prebuild.sh makes it")
    loaded = ctypes.CDLL(str(path))
    for name in _FUNCTIONS:
        getattr(loaded, name).argtypes = _ARGUMENTS
    return loaded


def why_not() -> str | None:
    """None where CUB's selection can be called, else the reason."""
    try:
        library()
    except (OSError, AttributeError) as error:
        return f"CUB's selection is not there: {error}"
    return None


def version() -> str:
    """As in "3.5.0"."""
    number = library().magnet_cub_version()
    return f"{number // 100000}.{number // 100 % 1000}.{number % 100}"


def has(what: int) -> bool:
    return bool(library().magnet_cub_has() & what)


def topk(score: Tensor, n_points: int) -> Tensor:
    """(1, 1, H, W) float32 -> (1, K) int32 in any order, of equal scores any: DeviceTopK at its fastest."""
    _check(score, n_points)
    points = torch.empty((1, n_points), dtype=torch.int32, device=score.device)
    _call("magnet_cub_topk", score, points, score.numel(), n_points)
    return points


def topk_ordered(score: Tensor, n_points: int) -> Tensor:
    """(1, 1, H, W) float32, none negative -> (1, K) int64 ascending, ties to the lowest: as select_points."""
    _check(score, n_points)
    points = torch.empty((1, n_points), dtype=torch.int64, device=score.device)
    _call("magnet_cub_topk_ordered", score, points, score.numel(), n_points)
    return points


def batched_topk(score: Tensor, n_points: int) -> Tensor:
    """(N, 1, 64, 64) float32 -> (N, K) int32 in any order, of equal scores any: DeviceBatchedTopK."""
    _check(score, n_points, images=None)
    if tuple(score.shape[2:]) != (BATCHED_SIDE, BATCHED_SIDE):
        raise ValueError(f"score: expected images of {BATCHED_SIDE} x {BATCHED_SIDE}, got {tuple(score.shape)}")
    points = torch.empty((score.shape[0], n_points), dtype=torch.int32, device=score.device)
    _call("magnet_cub_batched_topk", score, points, score.shape[0], n_points)
    return points


def _check(score: Tensor, n_points: int, images: int | None = 1) -> None:
    if score.dtype != torch.float32 or not score.is_contiguous() or score.dim() != 4 or score.shape[1] != 1:
        raise ValueError(f"score: expected contiguous float32 (N, 1, H, W), got {score.dtype} {tuple(score.shape)}")
    if images is not None and score.shape[0] != images:
        raise ValueError(f"score: expected one image, got {score.shape[0]}")
    pixels = score.shape[2] * score.shape[3]
    if not 1 <= n_points <= pixels or score.numel() > 2**31 - 1:
        raise ValueError(f"n_points: expected 1 to {pixels} in less than 2**31 scores, got {n_points}")


_memory: dict[tuple[object, ...], Tensor] = {}  # kept, so that CUB is not charged for asking and allocating


def _call(name: str, score: Tensor, points: Tensor, first: int, second: int) -> None:
    key = (name, first, second, score.device)
    if key not in _memory:
        needed = ctypes.c_size_t(0)
        _run(name, None, needed, score, points, first, second)
        _memory[key] = torch.empty(max(1, needed.value), dtype=torch.uint8, device=score.device)
    memory = _memory[key]
    _run(name, memory.data_ptr(), ctypes.c_size_t(memory.numel()), score, points, first, second)


def _run(name: str, memory: int | None, size: ctypes.c_size_t, score: Tensor, points: Tensor, *counts: int) -> None:
    stream = torch.cuda.current_stream(score.device).cuda_stream if score.is_cuda else None
    function = getattr(library(), name)
    code = function(memory, ctypes.byref(size), score.data_ptr(), points.data_ptr(), *counts, stream)
    if code:
        raise RuntimeError(f"CUB: {name} failed with CUDA error {code}")
