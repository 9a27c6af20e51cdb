"""Calls of the operators with one wrong argument, which is told by name, or none: the reference's result."""

from __future__ import annotations

import random
from typing import Any

import torch


def _maps(rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    shape = [rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 24), rng.randint(1, 24)]
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    maps = [torch.rand(shape, generator=generator).softmax(1) for _ in range(2)]
    kind = rng.choice((torch.float32, torch.float32, torch.bfloat16, torch.float16))
    layout = rng.choice((torch.contiguous_format, torch.channels_last))
    return tuple(m.to(kind).to(memory_format=layout) for m in maps)  # type: ignore[return-value]


def _wrong(rng: random.Random, like: torch.Tensor) -> Any:
    n, c, h, w = like.shape
    return rng.choice(
        (
            None,
            1.5,
            "text",
            [[1.0]],
            like[0],
            like[None],
            like.long(),
            like.double().to(torch.complex64),
            like.to_sparse(),
            like[:, :0],
            torch.rand(n + 1, c, h, w),
            torch.rand(n, c + 1, h, w),
            torch.rand(n, c, h + 1, w),
            torch.empty(n, c, h, w, device="meta"),
        )
    )


def run(seed: str) -> dict[str, Any]:
    """One call. "wrong": what was done that no error told of, or an error that does not name the argument."""
    import magnet_kernels

    rng = random.Random(seed)
    coarse, fine = _maps(rng)
    most = coarse.shape[2] * coarse.shape[3]
    arguments: dict[str, Any] = {
        "coarse": coarse,
        "fine": fine,
        "n_points": rng.choice((0, 1, most, rng.randint(0, most))),
        "kernel_size": rng.choice((1, 3, 5, 7)),
        "from_logits": rng.random() < 0.5,
        "mask": rng.choice((None, torch.rand(coarse.shape[0], 1, *coarse.shape[2:]) > 0.3)),
    }
    bad = rng.choice((None, "coarse", "fine", "n_points", "kernel_size", "mask", "out"))
    if bad in ("coarse", "fine"):
        arguments[bad] = _wrong(rng, arguments[bad])
    elif bad == "n_points":
        arguments[bad] = rng.choice((-1, most + 1, 10**30, 0.5, None, "3", True, float("nan"), [1]))
    elif bad == "kernel_size":
        arguments[bad] = rng.choice((0, 2, -3, 17, 3.0, None, "3", 10**30))
    elif bad == "mask":
        arguments[bad] = rng.choice((fine, 1, "text", torch.ones(1, 1, most + 1, 1, dtype=torch.bool)))
    elif bad == "out":
        arguments[bad] = rng.choice((coarse[:, :0], coarse.double(), torch.zeros(1).expand(coarse.shape), 3, fine))
    try:
        result = magnet_kernels.refine_step(**arguments)
    except (ValueError, TypeError) as error:
        told = bad is not None and (bad in str(error) or (bad in ("coarse", "fine") and "coarse" in str(error)))
        return {} if told else {"wrong": f"{bad}: {type(error).__name__}: {error}"}
    if bad is not None:
        changed = arguments[bad]
        allowed = bad == "fine" or bad == "coarse"  # another floating type or size may be right
        return {} if allowed and isinstance(changed, torch.Tensor) else {"wrong": f"{bad}={changed!r} was taken"[:300]}
    reference = magnet_kernels.refine_step(**arguments, backend="reference")
    return {} if torch.equal(result, reference) else {"wrong": "another result than the reference's"}
