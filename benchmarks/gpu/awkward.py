"""Every operator on awkward shapes, held against the reference: what memory checkers run, slow as they are.

``PYTHONPATH=.:benchmarks python -m gpu.awkward [--backend cuda] [--seconds 60]``: first maps of more pixels than one
block selects from, then small ones. Exit code 1 where a result is wrong or an operator has no such backend.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import magnet_kernels as mk
from magnet_kernels import available_backends

# (N, C, H, W): single rows and columns, odd widths, class counts of their own kernels and others, more than one tile
SHAPES = ((1, 2, 1, 1), (2, 3, 1, 37), (1, 7, 41, 1), (2, 19, 33, 65), (1, 5, 67, 129), (3, 21, 8, 31), (1, 23, 17, 40))
# More than the 16384 pixels up to which one block selects all points of an image (block_an_image() in
# csrc/cuda/parts/selection.h): only these launch count_candidates and list_tiles, count digits while keys are made
# (KeySink), and look back over tiles; of four images and more, count_digit. 3 and 1 keys in the last load of four.
LARGE = (((1, 2, 181, 183), torch.float32), ((2, 5, 229, 145), torch.float16), ((4, 2, 129, 131), torch.bfloat16))
TYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


class Run(NamedTuple):
    """One call: of an operator, in which way, and whether its result must be the reference's to the bit."""

    operator: str
    what: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    exact: bool


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
    yield from large_runs()
    yield from small_runs()


def large_runs() -> Iterator[Run]:
    """What many blocks select together; with and without masks, equal scores, every choice of keys' source."""
    generator = torch.Generator().manual_seed(4)
    for shape, dtype in LARGE:
        coarse, fine = (torch.randn(shape, generator=generator).mul(2).softmax(dim=1).to(dtype) for _ in range(2))
        mask = torch.rand((shape[0], 1, *shape[2:]), generator=generator) > 0.9
        pixels, pair = shape[2] * shape[3], {"coarse": coarse, "fine": fine}
        flat = torch.full((shape[0], 1, *shape[2:]), 0.25)
        text = f"{tuple(shape)} {dtype}"
        chosen: tuple[tuple[int, int, Tensor | None], ...]
        chosen = ((pixels // 30, 3, None), (pixels // 2, 1, mask), (pixels // 5, 5, None), (pixels, 7, mask))
        for k, side, valid in chosen:
            what = f"{text} K={k} {side}x{side}{'' if valid is None else ' mask'}"
            step = {**pair, "n_points": k, "kernel_size": side, "mask": valid, "return_points": True}
            yield Run("refine_step_", what, mk.refine_step_, step, True)
            yield Run(
                "select_points", f"{what} flat", mk.select_points, {"score": flat, "n_points": k, "mask": valid}, True
            )
        scores = {"score": coarse[:, :1], "n_points": pixels // 3}
        yield Run("select_points", text, mk.select_points, scores, True)
        yield Run("refine_step", f"{text} half-size", mk.refine_step, {**step, "coarse": halved(coarse)}, False)
        boxes = torch.tensor([[0, 0, 0, shape[3] * 0.7, shape[2]], [0, shape[3] * 0.4, 0, shape[3], shape[2]]])
        patches = mk.crop_patches(fine, boxes, (96, 100), backend="reference")
        stage = {"coarse": halved(coarse)[:1], "patches": patches, "boxes": boxes, "size": shape[2:]}
        stage |= {"n_points": pixels // 9, "labels_only": True}
        yield Run("refine_stage_labels", text, mk.refine_stage, stage, False)


def small_runs() -> Iterator[Run]:
    generator = torch.Generator().manual_seed(3)
    for number, shape in enumerate(SHAPES):
        dtype = TYPES[number % len(TYPES)]
        maps = [torch.randn(shape, generator=generator).mul(2).softmax(dim=1).to(dtype) for _ in range(2)]
        mask = torch.rand((shape[0], 1, *shape[2:]), generator=generator) > 0.3
        for (layout, coarse), (_, fine) in zip(layouts(maps[0]), layouts(maps[1]), strict=True):
            for run in (
                *on_scores(coarse, fine, mask, (3, 5, 7, 11, 15) if layout == "contiguous" else (3,)),
                *on_points(coarse, fine, mask),
                *on_patches(coarse, fine),
            ):
                yield run._replace(what=f"{tuple(shape)} {dtype} {layout} {run.what}".rstrip())


def halved(x: Tensor) -> Tensor:
    return x[:, :, ::2, ::2].clone()


def on_scores(coarse: Tensor, fine: Tensor, mask: Tensor, kernel_sizes: Sequence[int]) -> Iterator[Run]:
    yield Run("confidence", "", mk.confidence, {"x": coarse}, True)
    yield Run("confidence", "logits", mk.confidence, {"x": coarse.log(), "from_logits": True}, False)
    for side in kernel_sizes:
        yield Run("median_blur", str(side), mk.median_blur, {"x": coarse, "kernel_size": side}, True)
    pair = {"coarse": coarse, "fine": fine}
    yield Run("uncertainty_score", "", mk.uncertainty_score, pair, True)
    yield Run("uncertainty_score", "mask", mk.uncertainty_score, {**pair, "mask": mask}, True)
    larger = {"coarse": halved(coarse), "size": tuple(coarse.shape[2:])}
    yield Run("upsample_confidence", "", mk.upsample_confidence, larger, False)


def on_points(coarse: Tensor, fine: Tensor, mask: Tensor) -> Iterator[Run]:
    score, flat = coarse[:, :1], torch.ones(coarse.shape[0], 1, *coarse.shape[2:])
    pixels = coarse.shape[2] * coarse.shape[3]
    for k in sorted({1, max(1, pixels // 3), pixels}):
        for what, valid in ((f"K={k}", None), (f"K={k} mask", mask)):
            chosen = {"n_points": k, "mask": valid}
            yield Run("select_points", what, mk.select_points, {"score": score, **chosen}, True)
            yield Run("select_points", f"{what} flat", mk.select_points, {"score": flat, **chosen}, True)
            step = {"coarse": coarse, "fine": fine, **chosen, "return_points": True}
            yield Run("refine_step", what, mk.refine_step, step, True)
            yield Run("refine_step_", what, mk.refine_step_, step, True)
            yield Run("refine_step", f"{what} half-size", mk.refine_step, {**step, "coarse": halved(coarse)}, False)
        points = mk.select_points(score, k, mask=mask, backend="reference")
        replaced = {"coarse": coarse, "fine": fine, "points": points}
        yield Run("replace_points", f"K={k}", mk.replace_points, replaced, True)
        yield Run("replace_points_", f"K={k}", mk.replace_points_, replaced, True)


def on_patches(coarse: Tensor, fine: Tensor) -> Iterator[Run]:
    n, _, h, w = coarse.shape
    boxes, cut = boxes_of(coarse.shape), (max(1, h // 2), max(1, w // 2 + 1))
    yield Run("crop_patches", "", mk.crop_patches, {"x": coarse, "boxes": boxes, "output_size": cut}, False)
    patches = mk.crop_patches(fine, boxes, cut, backend="reference")
    laid = {"patches": patches, "boxes": boxes, "size": (h, w)}
    yield Run("stitch_patches", "", mk.stitch_patches, {**laid, "batch_size": n}, False)
    yield Run("patch_uncertainty", "", mk.patch_uncertainty, {"coarse": coarse, "boxes": boxes}, False)
    stage = {"coarse": halved(coarse), **laid, "n_points": max(1, h * w // 3)}
    yield Run("refine_stage", "", mk.refine_stage, stage, False)
    yield Run("refine_stage_labels", "", mk.refine_stage, {**stage, "labels_only": True}, False)


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


def missing_operators(backend: str) -> dict[str, str]:
    """Operators that ``backend`` cannot run here, and why."""
    return {name: states[backend] for name, states in available_backends().items() if states[backend] != "ok"}


def why(missing: dict[str, str]) -> str:
    """The reason of the first, to end a line with."""
    return f" ({next(iter(missing.values()))})" if missing else ""


def compared(run: Run, backend: str) -> str | None:
    """None where the backend's result is the reference's, else how they differ."""
    device = "cpu" if backend == "cpu" else "cuda"
    expected = run.function(**moved(run.arguments, "cpu"), backend="reference")
    return differences(run.function(**moved(run.arguments, device), backend=backend), expected, run.exact)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.awkward", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("cuda", "triton", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further run after these")
    chosen = parser.parse_args(arguments)
    backend, started = chosen.backend, time.monotonic()
    missing = missing_operators(backend)
    for name, reason in missing.items():
        print(f"MISSING: {name}: {reason}")
    ran, wrong, left = 0, 0, 0
    for run in runs():
        if run.operator in missing:
            continue
        if time.monotonic() - started > chosen.seconds:
            left += 1
            continue
        problem = compared(run, backend)
        ran += 1
        if problem:
            wrong += 1
            print(f"WRONG: {run.operator} {run.what}: {problem}")
    if backend != "cpu":
        torch.cuda.synchronize()
    late = f", {left} left out for time" if left else ""
    print(f"{ran} runs of backend {backend}, {wrong} wrong, {len(missing)} operators missing{why(missing)}{late}")
    return 1 if wrong or missing or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
