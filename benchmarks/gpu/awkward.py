"""Every operator on small awkward shapes, held against the reference: what memory checkers run, slow as they are.

``PYTHONPATH=.:benchmarks python -m gpu.awkward [--backend cuda]``; exit code 1 where a result is wrong or an
operator has no such backend.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import magnet_kernels as mk
from magnet_kernels import available_backends

# (N, C, H, W): single rows and columns, odd widths, class counts of their own kernels and others, more than one tile
SHAPES = ((1, 2, 1, 1), (2, 3, 1, 37), (1, 7, 41, 1), (2, 19, 33, 65), (1, 5, 67, 129), (3, 21, 8, 31), (1, 23, 17, 40))
TYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}

Run = tuple[str, str, Callable[..., Any], dict[str, Any], bool]  # operator, what, function, arguments, same bits


def layouts(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same values: contiguous, channels last, and unaligned rows of a wider map."""
    yield "contiguous", x
    yield "channels_last", x.contiguous(memory_format=torch.channels_last)
    wide = torch.full((*x.shape[:3], x.shape[3] + 3), 0.5).to(x.dtype)
    wide[..., 1:-2] = x
    yield "cut out", wide[..., 1:-2]


def boxes_of(shape: Sequence[int]) -> Tensor:
    """Whole, overlapping, fractional, and partly or wholly outside."""
    n, _, h, w = shape
    boxes = [
        [0, 0, 0, w, h],
        [n - 1, w / 3, h / 4, w, h],
        [0, -3.5, -2.25, w / 2 + 0.3, h / 2],
        [0, w + 4, 0, w + 9, h],
    ]
    return torch.tensor(boxes, dtype=torch.float32)


def runs() -> Iterator[Run]:
    generator = torch.Generator().manual_seed(3)
    for number, shape in enumerate(SHAPES):
        dtype = TYPES[number % len(TYPES)]
        maps = [torch.randn(shape, generator=generator).mul(2).softmax(dim=1).to(dtype) for _ in range(2)]
        mask = torch.rand((shape[0], 1, *shape[2:]), generator=generator) > 0.3
        for (layout, coarse), (_, fine) in zip(layouts(maps[0]), layouts(maps[1]), strict=True):
            for operator, what, function, arguments, exact in (
                *on_scores(coarse, fine, mask, (3, 5, 7, 11, 15) if layout == "contiguous" else (3,)),
                *on_points(coarse, fine, mask),
                *on_patches(coarse, fine),
            ):
                yield operator, f"{tuple(shape)} {dtype} {layout} {what}".rstrip(), function, arguments, exact


def halved(x: Tensor) -> Tensor:
    return x[:, :, ::2, ::2].clone()


def on_scores(coarse: Tensor, fine: Tensor, mask: Tensor, kernel_sizes: Sequence[int]) -> Iterator[Run]:
    yield "confidence", "", mk.confidence, {"x": coarse}, True
    yield "confidence", "logits", mk.confidence, {"x": coarse.log(), "from_logits": True}, False
    for side in kernel_sizes:
        yield "median_blur", str(side), mk.median_blur, {"x": coarse, "kernel_size": side}, True
    pair = {"coarse": coarse, "fine": fine}
    yield "uncertainty_score", "", mk.uncertainty_score, pair, True
    yield "uncertainty_score", "mask", mk.uncertainty_score, {**pair, "mask": mask}, True
    larger = {"coarse": halved(coarse), "size": tuple(coarse.shape[2:])}
    yield "upsample_confidence", "", mk.upsample_confidence, larger, False


def on_points(coarse: Tensor, fine: Tensor, mask: Tensor) -> Iterator[Run]:
    score, flat = coarse[:, :1], torch.ones(coarse.shape[0], 1, *coarse.shape[2:])
    pixels = coarse.shape[2] * coarse.shape[3]
    for k in sorted({1, max(1, pixels // 3), pixels}):
        for what, valid in ((f"K={k}", None), (f"K={k} mask", mask)):
            chosen = {"n_points": k, "mask": valid}
            yield "select_points", what, mk.select_points, {"score": score, **chosen}, True
            yield "select_points", f"{what} flat", mk.select_points, {"score": flat, **chosen}, True
            step = {"coarse": coarse, "fine": fine, **chosen, "return_points": True}
            yield "refine_step", what, mk.refine_step, step, True
            yield "refine_step_", what, mk.refine_step_, step, True
            yield "refine_step", f"{what} half-size", mk.refine_step, {**step, "coarse": halved(coarse)}, False
        points = mk.select_points(score, k, mask=mask, backend="reference")
        replaced = {"coarse": coarse, "fine": fine, "points": points}
        yield "replace_points", f"K={k}", mk.replace_points, replaced, True
        yield "replace_points_", f"K={k}", mk.replace_points_, replaced, True


def on_patches(coarse: Tensor, fine: Tensor) -> Iterator[Run]:
    n, _, h, w = coarse.shape
    boxes, cut = boxes_of(coarse.shape), (max(1, h // 2), max(1, w // 2 + 1))
    yield "crop_patches", "", mk.crop_patches, {"x": coarse, "boxes": boxes, "output_size": cut}, False
    patches = mk.crop_patches(fine, boxes, cut, backend="reference")
    laid = {"patches": patches, "boxes": boxes, "size": (h, w)}
    yield "stitch_patches", "", mk.stitch_patches, {**laid, "batch_size": n}, False
    yield "patch_uncertainty", "", mk.patch_uncertainty, {"coarse": coarse, "boxes": boxes}, False
    stage = {"coarse": halved(coarse), **laid, "n_points": max(1, h * w // 3)}
    yield "refine_stage", "", mk.refine_stage, stage, False
    yield "refine_stage_labels", "", mk.refine_stage, {**stage, "labels_only": True}, False


def moved(arguments: dict[str, Any], device: str) -> dict[str, Any]:
    """Copies on the device, strides and all."""
    return {name: copy(x, device) if isinstance(x, Tensor) else x for name, x in arguments.items()}


def copy(x: Tensor, device: str) -> Tensor:
    if x.storage_offset():  # a cut-out: take the whole map along
        whole = x.as_strided((x.untyped_storage().nbytes() // x.element_size(),), (1,), 0).clone().to(device)
        return whole.as_strided(x.shape, x.stride(), x.storage_offset())
    return x.clone().to(device)


def differences(actual: Any, expected: Any, exact: bool) -> str | None:
    """None where they agree, else how they do not. Rounding may move the last few of the points chosen."""
    pairs = [(actual, expected)] if isinstance(expected, Tensor) else list(zip(actual, expected, strict=True))
    for a, b in pairs:
        a = a.cpu()
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype} {tuple(a.shape)}, not {b.dtype} {tuple(b.shape)}"
        within = 0.0 if exact or not b.is_floating_point() else ATOL[b.dtype]
        wrong = ~torch.isclose(a.double(), b.double(), rtol=0, atol=within, equal_nan=True)
        different = int(wrong.sum())
        if different and (exact or different > 0.02 * wrong.numel()):
            return f"{different} of {wrong.numel()} values differ"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.awkward", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("cuda", "triton", "cpu"), default="cuda")
    backend = parser.parse_args(arguments).backend
    device = "cpu" if backend == "cpu" else "cuda"
    missing = {name: states[backend] for name, states in available_backends().items() if states[backend] != "ok"}
    for name, reason in missing.items():
        print(f"MISSING: {name}: {reason}")
    ran, wrong = 0, 0
    for operator, what, function, inputs, exact in runs():
        if operator in missing:
            continue
        expected = function(**moved(inputs, "cpu"), backend="reference")
        problem = differences(function(**moved(inputs, device), backend=backend), expected, exact)
        ran += 1
        if problem:
            wrong += 1
            print(f"WRONG: {operator} {what}: {problem}")
    if device == "cuda":
        torch.cuda.synchronize()
    print(f"{ran} runs of backend {backend}, {wrong} wrong, {len(missing)} operators missing")
    return 1 if wrong or missing or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
