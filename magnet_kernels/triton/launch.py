"""Launching kernels: on the device of their tensors, with floats computed as written; and what launches depend on."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Pixels of an image, and elements that offsets inside an image may reach, for which kernels count in 32 bits.
MOST_PIXELS = 2**31 - 2**16


def cdiv(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def power_of_two_from(n: int) -> int:
    """The lowest power of two that is not below ``n``."""
    return 1 << max(n - 1, 0).bit_length()


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """How many programs run at once, at least; 1 for tensors of the CPU, whose launches are only compiled."""
    return 1 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count


def smaller_blocks(block: int, least: int, items: int, device: torch.device) -> int:
    """``block`` items a program, halved (down to ``least``) until there are two programs a multiprocessor."""
    while block > least and items < 2 * multiprocessors(device) * block:
        block //= 2
    return block


def wide(*maps: Tensor) -> bool:
    """Whether offsets inside an image of any of these (N, C, H, W) maps need 64 bits."""
    return any(sum((n - 1) * s for n, s in zip(m.shape[1:], m.stride()[1:], strict=True)) >= MOST_PIXELS for m in maps)


def flat(*maps: Tensor) -> bool:
    """Whether in all of these (N, C, H, W) maps rows follow each other like pixels, so that an image is one row."""
    return all(m.shape[2] == 1 or m.stride(2) == m.shape[3] * m.stride(3) for m in maps)


def strides(x: Tensor | None) -> tuple[int, ...]:
    """Of a map (N, C, H, W); zeros where there is none."""
    return (0, 0, 0, 0) if x is None else x.stride()


def plane_strides(x: Tensor | None) -> tuple[int, ...]:
    """Those of N, H and W alone, of a map of one channel."""
    n, _, h, w = strides(x)
    return n, h, w


def as_bytes(mask: Tensor | None) -> Tensor | None:
    """bool as kernels take it."""
    return None if mask is None else mask.view(torch.uint8)


def _run(
    kernel: Any, programs: int, arguments: tuple[Any, ...], options: dict[str, Any], constants: dict[str, Any]
) -> None:
    with _surroundings(next(a for a in arguments if isinstance(a, Tensor)).device):
        kernel[(programs,)](*arguments, **constants, **options)


def _surroundings(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device)


# The tests put another function here, which compiles what would be launched, and may emulate it.
run: Callable[[Any, int, tuple[Any, ...], dict[str, Any], dict[str, Any]], None] = _run


def launch(
    kernel: Any, programs: int, *arguments: Any, num_warps: int = 4, maxnreg: int | None = None, **constants: Any
) -> None:
    """Run ``kernel`` in as many programs; ``constants`` are its tl.constexpr arguments.

    maxnreg: registers a thread may have. Without it the compiler may spill to have fewer than it needs to.
    """
    # Without fused multiply-add, results are the same bits as those of the other backends.
    options: dict[str, Any] = {"num_warps": num_warps, "enable_fp_fusion": False}
    if maxnreg is not None:
        options["maxnreg"] = maxnreg
    if programs:
        run(kernel, programs, arguments, options, constants)
