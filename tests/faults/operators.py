"""Calls of the operators with one wrong argument, which is told by name, or none: the reference's result."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Arguments = dict[str, Any]


def _map(rng: random.Random, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(rng.randrange(1 << 30)))
    layout = rng.choice((torch.contiguous_format, torch.channels_last))
    return values.softmax(1).to(kind).to(memory_format=layout)


def _boxes(rng: random.Random, images: int, height: int, width: int) -> Tensor:
    """(P, 5), each within the image."""
    rows = []
    for _ in range(rng.randint(1, 4)):
        x0, y0 = rng.randrange(width), rng.randrange(height)
        rows.append([rng.randrange(images), x0, y0, rng.randint(x0 + 1, width), rng.randint(y0 + 1, height)])
    return torch.tensor(rows, dtype=torch.float32)


def _right(rng: random.Random, name: str) -> Arguments:
    """Arguments that ``name`` takes."""
    n, c, h, w = rng.randint(1, 3), rng.randint(2, 6), rng.randint(1, 24), rng.randint(1, 24)
    kind = rng.choice((torch.float32, torch.float32, torch.bfloat16, torch.float16))
    first, second = _map(rng, (n, c, h, w), kind), _map(rng, (n, c, h, w), kind)
    mask = rng.choice((None, torch.rand(n, 1, h, w) > 0.3, torch.rand(h, w) > 0.3))
    kernel_size, n_points = rng.choice((1, 3, 5, 7)), rng.choice((0, 1, h * w, rng.randint(0, h * w)))
    boxes = _boxes(rng, n, h, w)
    size = (rng.randint(h, 2 * h), rng.randint(w, 2 * w))
    every: dict[str, Arguments] = {
        "confidence": {"x": first},
        "median_blur": {"x": first, "kernel_size": kernel_size},
        "uncertainty_score": {"coarse": first, "fine": second, "kernel_size": kernel_size, "mask": mask},
        "select_points": {"score": first[:, :1].float(), "n_points": n_points},
        "refine_step": {
            "coarse": first,
            "fine": second,
            "n_points": n_points,
            "kernel_size": kernel_size,
            "mask": mask,
        },
        "upsample_confidence": {"coarse": first, "size": size},
        "crop_patches": {"x": first, "boxes": boxes, "output_size": (rng.randint(1, 9), rng.randint(1, 9))},
        "patch_uncertainty": {"coarse": first, "boxes": boxes},
        "stitch_patches": {
            "patches": _map(rng, (len(boxes), c, 4, 5), kind),
            "boxes": boxes,
            "size": (h, w),
            "batch_size": n,
        },
    }
    return every[name]


def _wrong_map(rng: random.Random, x: Tensor) -> Any:
    return rng.choice((None, 1.5, "text", [[1.0]], x[0], x[None], x.long(), x.to(torch.complex64), x.to_sparse()))


def _wrong_size(rng: random.Random, size: Any) -> Any:
    return rng.choice((None, -1, (0, 0), (1,), (3, 4, 5), (-3, 4), (2.5, 3), ("3", 4), (10**12, 10**12), float("nan")))


# what no operator takes, by argument
_WRONG: dict[str, Callable[[random.Random, Any], Any]] = {
    **dict.fromkeys(("x", "coarse", "fine", "patches", "score"), _wrong_map),
    **dict.fromkeys(("size", "output_size"), _wrong_size),
    "n_points": lambda rng, _: rng.choice((-1, 1.5, 0.0, -0.5, None, "3", True, float("nan"), float("inf"), [1])),
    "kernel_size": lambda rng, _: rng.choice((0, 2, -3, 17, 3.0, None, "3", True, 10**30)),
    "mask": lambda rng, _: rng.choice((1, "text", torch.ones(99, 98), torch.ones(99, 98, dtype=torch.bool))),
    "boxes": lambda rng, b: rng.choice((None, "text", 3, b[0], b[:, :4], b + 1e6, b * float("nan"), b.bool(), b - 100)),
    "batch_size": lambda rng, _: rng.choice((-1, 1.5, None, "3", True, 10**18)),
}


def run(seed: str) -> dict[str, Any]:
    """One call. "wrong": what was done that no error told of, or an error that does not name the argument."""
    import magnet_kernels

    rng = random.Random(seed)
    name = rng.choice(
        (
            *("confidence", "median_blur", "uncertainty_score", "select_points", "refine_step", "refine_step"),
            *("upsample_confidence", "crop_patches", "patch_uncertainty", "stitch_patches"),
        )
    )
    arguments = _right(rng, name)
    bad = rng.choice((None, *arguments))
    if bad is not None:
        arguments[bad] = _WRONG[bad](rng, arguments[bad])
    what = f"{name}: {bad}={arguments[bad]!r:.200}" if bad else f"{name}, all right"
    operator = getattr(magnet_kernels, name)
    try:
        result = operator(**arguments)
    except (ValueError, TypeError, torch.OutOfMemoryError) as error:
        return {} if bad is not None and bad in str(error) else {"wrong": f"{what}: {type(error).__name__}: {error}"}
    if bad is not None:
        return {"wrong": f"{what} was taken"}
    for ours, reference in zip(_all(result), _all(operator(**arguments, backend="reference")), strict=True):
        # a result of half precision may be rounded the other way
        if not torch.allclose(
            ours.float(), reference.float(), rtol=0, atol=1e-6 if ours.dtype == torch.float32 else 4e-3
        ):
            return {"wrong": f"{what}: another result than the reference's"}
    return {}


def _all(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
