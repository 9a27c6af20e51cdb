"""Launching kernels: on the device of their tensors, with floats computed as written; and what launches depend on."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Pixels of an image, and elements that offsets inside an image may reach, for which kernels count in 32 bits.
MOST_PIXELS = 2**31 - 2**16
# Elements that begin a load of 16 bytes for each thread of the usual layouts: addresses are multiples of as many.
ALIGNMENT = 16
_MAPS = ("x", "copy", "result", "coarse", "fine", "target", "mask", "score", "patches")
# Triton compiles a kernel anew for each number that is 1, or a multiple of 16, or neither. Numbers that change with the
# size of an image are none of its business here: what loads of 16 bytes need to know of them comes as constants
# ..._ALIGNED (``multiple_of_16`` in values.py). Only whether pixels, or classes, lie side by side is asked of strides.
UNSPECIALISED: dict[str, list[str]] = {
    "do_not_specialize": [
        *(f"{name}_{axis}" for name in _MAPS for axis in "nh"),
        *("blocks", "count", "height", "histogram_n", "map_height", "map_width", "n_points", "patch_height"),
        *("patch_width", "pixels", "points_n", "small_height", "small_width", "tiles", "tiles_x", "width"),
    ],
    "do_not_specialize_on_alignment": ["points_k", *(f"{name}_{axis}" for name in _MAPS for axis in "cw")],
}


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
    for m in maps:
        (_, c, h, w), (_, plane, row, column) = m.shape, m.stride()
        if (c - 1) * plane + (h - 1) * row + (w - 1) * column >= MOST_PIXELS:
            return True
    return False


def flat(*maps: Tensor) -> bool:
    """Whether in all of these (N, C, H, W) maps rows follow each other like pixels, so that an image is one row."""
    for m in maps:
        (_, _, h, w), (_, _, row, column) = m.shape, m.stride()
        if h != 1 and row != w * column:
            return False
    return True


def strides(**maps: Tensor | None) -> dict[str, int]:
    """Of maps (N, C, H, W), by the names that kernels give them: x_n, x_c, x_h, x_w; zeros where there is none."""
    named = {}
    for name, x in maps.items():
        n, c, h, w = (0, 0, 0, 0) if x is None else x.stride()
        named[f"{name}_n"], named[f"{name}_c"], named[f"{name}_h"], named[f"{name}_w"] = n, c, h, w
    return named


def plane_strides(**maps: Tensor | None) -> dict[str, int]:
    """Those of N, H and W alone, of maps of one channel: x_n, x_h, x_w."""
    named = {}
    for name, x in maps.items():
        n, _, h, w = (0, 0, 0, 0) if x is None else x.stride()
        named[f"{name}_n"], named[f"{name}_h"], named[f"{name}_w"] = n, h, w
    return named


def alignment(in_one_row: bool, height: int, width: int, **maps: Tensor | None) -> dict[str, bool]:
    """ALIGNED: the rows that kernels go through are multiples of ALIGNMENT; and X_ALIGNED of each map (N, C, H, W).

    in_one_row: the whole image is that row, and strides along H are not used. X_ALIGNED: ALIGNED, and so are the
    strides of this map, but for those of 1 along C or W.
    """
    rows = (height * width if in_one_row else width) % ALIGNMENT == 0
    named = {f"{name.upper()}_ALIGNED": rows and (x is None or _is_aligned(x, in_one_row)) for name, x in maps.items()}
    return {"ALIGNED": rows, **named}


def _is_aligned(x: Tensor, in_one_row: bool) -> bool:
    n, c, h, w = (0 if size == 1 else step for size, step in zip(x.shape, x.stride(), strict=True))
    if in_one_row:
        h, w = 0, x.stride(3)
    return all(step % ALIGNMENT == 0 for step in (n, h, *(step for step in (c, w) if step != 1)))


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


class _Names(NamedTuple):
    """What a kernel calls its parameters: those that come with each launch, then what is compiled into it."""

    arguments: tuple[str, ...]
    constants: tuple[str, ...]
    all: frozenset[str]


@functools.cache
def _names_of(kernel: Any) -> _Names:
    arguments = tuple(p.name for p in kernel.params if not p.is_constexpr)
    constants = tuple(p.name for p in kernel.params if p.is_constexpr)
    return _Names(arguments, constants, frozenset(arguments + constants))


def _wrong_names(kernel: Any, names: _Names, given: dict[str, Any]) -> TypeError:
    missing = [name for name in names.arguments + names.constants if name not in given]
    unknown = [name for name in given if name not in names.all]
    parts = [f"{what} {', '.join(of)}" for what, of in (("missing", missing), ("unknown", unknown)) if of]
    return TypeError(f"{kernel.__name__}: {'; '.join(parts)}")


def launch(kernel: Any, programs: int, /, *, num_warps: int = 4, maxnreg: int | None = None, **arguments: Any) -> None:
    """Run ``kernel`` in as many programs; ``arguments`` names all of its parameters, the last of them tl.constexpr.

    maxnreg: registers a thread may have. Without it the compiler may spill to have fewer than it needs to.
    """
    names = _names_of(kernel)
    if arguments.keys() != names.all:
        raise _wrong_names(kernel, names, arguments)
    # Without fused multiply-add, results are the same bits as those of the other backends.
    options: dict[str, Any] = {"num_warps": num_warps, "enable_fp_fusion": False}
    if maxnreg is not None:
        options["maxnreg"] = maxnreg
    if programs:
        constants = {name: arguments[name] for name in names.constants}
        run(kernel, programs, tuple([arguments[name] for name in names.arguments]), options, constants)
