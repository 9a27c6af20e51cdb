"""The launches of each operator, in order, and the PTX instructions that each takes a pixel. Counted, not measured.

    python tests/ptx/run.py instructions [--backend cuda_sm_90] [--operators refine_step_,confidence]

Instructions are those of the warps, 32 lanes each whether all of them take part or not, divided by the pixels of the
fine map. Machine code has some 15 percent more or less; where ptxas writes a call of several instructions for one (an
exponential, a division) it has more.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from ptx import backends, emulator
from ptx.run import readable
from torch import Tensor

import magnet_kernels as mk

SHAPE = (1, 19, 512, 1024)
GIVEN_OFTEN = (8, 19, 128, 256), (1, 2, 512, 512)  # what networks give: no image is large
DTYPES = torch.float32, torch.bfloat16


class FirstChoice(random.Random):
    """A schedule with the multiprocessors of an H200 where it may choose them."""

    def choice(self, seq: Any) -> Any:
        return 132 if 132 in seq else seq[0]


def smooth(shape: tuple[int, int, int, int], seed: int, dtype: torch.dtype, logits: bool = False) -> Tensor:
    """Regions of some 32 pixels, as networks give them: scores that lie side by side are alike."""
    g = torch.Generator().manual_seed(seed)
    n, c, h, w = shape
    low = 3 * torch.randn((n, c, max(2, h // 32), max(2, w // 32)), generator=g)
    x = F.interpolate(low, (h, w), mode="bilinear") + 0.1 * torch.randn(shape, generator=g)
    return (x if logits else x.softmax(1)).to(dtype)


def grid(patch: tuple[int, int], step: int) -> Tensor:
    """Boxes of ``patch`` all over SHAPE, half a patch apart where ``step`` is 2."""
    ys, xs = (range(0, full - size + 1, size // step) for full, size in zip(SHAPE[2:], patch, strict=True))
    return torch.tensor([[0, x, y, x + patch[1], y + patch[0]] for y in ys for x in xs], dtype=torch.float32)


def calls(backend: str) -> dict[str, tuple[int, Callable[[], Any]]]:
    """{name: (pixels, call)}; names begin with the operator's."""
    found: dict[str, tuple[int, Callable[[], Any]]] = {}
    size, k, cut = SHAPE[2:], SHAPE[2] * SHAPE[3] // 32, (128, 256)

    def add(name: str, pixels: int, operator: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        found[name] = pixels, partial(operator, *arguments, **options, backend=backend)

    for shape in GIVEN_OFTEN:
        pixels = shape[2] * shape[3]
        a, b = (smooth(shape, seed, torch.float32) for seed in (0, 1))
        add(
            f"refine_step_ {'x'.join(map(str, shape))}", shape[0] * pixels, mk.refine_step_, a, b, n_points=pixels // 32
        )
    whole = SHAPE[2] * SHAPE[3]
    add_whole = lambda name, *rest, **options: add(name, whole, *rest, **options)  # noqa: E731
    for dtype in DTYPES:
        a, b = (smooth(SHAPE, seed, dtype) for seed in (0, 1))
        half, end = a[:, :, ::2, ::2].contiguous(), f", {str(dtype).removeprefix('torch.')}"
        score = mk.uncertainty_score(a, b, backend="reference").to(dtype)
        boxes, more = grid(cut, 1), grid(cut, 2)
        patches, overlapping = (mk.crop_patches(b, some, cut, backend="reference") for some in (boxes, more))
        add_whole("refine_step_" + end, mk.refine_step_, a.clone(), b, n_points=k)
        add_whole("refine_step" + end, mk.refine_step, a, b, n_points=k)
        add_whole("refine_step, coarse of half size" + end, mk.refine_step, half, b, n_points=k)
        add_whole("refine_stage" + end, mk.refine_stage, half, patches, boxes, size, n_points=k)
        add_whole(
            "refine_stage to labels" + end, mk.refine_stage, half, patches, boxes, size, n_points=k, labels_only=True
        )
        add_whole("confidence" + end, mk.confidence, a)
        add_whole("select_points" + end, mk.select_points, score, k)
        add_whole("upsample_confidence x2" + end, mk.upsample_confidence, half, size)
        add_whole("crop_patches" + end, mk.crop_patches, b, boxes, cut)
        add_whole("stitch_patches" + end, mk.stitch_patches, patches, boxes, size)
        add_whole("stitch_patches, half overlaps" + end, mk.stitch_patches, overlapping, more, size)
        add_whole("patch_uncertainty" + end, mk.patch_uncertainty, a, more)
        points = mk.select_points(score, k, backend="reference")
        add(f"replace_points_{end}, a point", k, mk.replace_points_, a.clone(), b, points)
    a, b = (smooth(SHAPE, seed, torch.float32) for seed in (0, 1))
    score = mk.uncertainty_score(a, b, backend="reference")
    last = [x.contiguous(memory_format=torch.channels_last) for x in (a, b)]
    add_whole("refine_step_, channels_last", mk.refine_step_, *last, n_points=k)
    third = a[:, :, ::3, ::3].contiguous()
    add_whole("refine_step, coarse of a third of the size", mk.refine_step, third, b, n_points=k)
    add("crop_patches to half their boxes' size", whole // 4, mk.crop_patches, b, grid(cut, 1), (64, 128))
    for kernel_size in range(3, 16, 2):
        add_whole(f"median_blur {kernel_size}", mk.median_blur, score, kernel_size)
        if kernel_size > 3:
            step = mk.refine_step_, a.clone(), b
            add_whole(f"refine_step_, median {kernel_size}", *step, n_points=k, kernel_size=kernel_size)
    small = mk.uncertainty_score(*(smooth((64, 3, 64, 64), seed, torch.float32) for seed in (0, 1)))
    add("select_points 64x64x64", small.numel(), mk.select_points, small, 512)
    add_whole("select_points, float64", mk.select_points, score.double(), k)
    logits = [smooth(SHAPE, seed, torch.float32, logits=True) for seed in (0, 1)]
    add_whole("refine_step_, logits", mk.refine_step_, *logits, n_points=k, from_logits=True)
    half, patches = logits[0][:, :, ::2, ::2].contiguous(), mk.crop_patches(logits[1], grid(cut, 1), cut)
    stage = (half, patches, grid(cut, 1), size)
    add_whole("refine_stage to labels, logits", mk.refine_stage, *stage, n_points=k, labels_only=True, from_logits=True)
    return found


def named(kernel: str) -> str:
    """ "magnet::cuda::list_tiles<unsigned int>(...)" -> "list_tiles<unsigned int>"."""
    found = re.search(r"magnet::cuda::(\w+(?:<[^(]*>)?)", readable([kernel]))
    return found[1].replace("magnet::cuda::", "").replace("magnet::", "") if found else kernel


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/ptx/run.py instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=backends.NAMES, default="cuda_sm_90")
    parser.add_argument("--operators", help="with commas between; all of them if left out")
    given = parser.parse_args()
    if (why := backends.why_not(given.backend)) is not None:
        print(f"{given.backend}: {why}")
        return 1
    torch.set_num_threads(1)
    backends.SCHEDULES.races = 1
    wanted = given.operators.split(",") if given.operators else None
    for name, (pixels, call) in calls(given.backend).items():
        if wanted is not None and re.split(r"[ ,]", name)[0] not in wanted:
            continue
        backends.SCHEDULES.fixed = FirstChoice(0)
        with emulator.launches() as found:
            call()
        print(f"{name}: {len(found)} launches")
        for kernel, instructions in found:
            print(f"  {named(kernel):60} {32 * instructions / pixels:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
