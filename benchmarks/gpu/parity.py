"""Ten telling cases against the reference, in seconds: what works and what does not, before anything is measured.

``PYTHONPATH=.:benchmarks python -m gpu.parity [--backend cuda]`` names each case before it runs, so that where a kernel
hangs the last line says which. Exit code 1 where a result is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import torch

import magnet_kernels as mk
from gpu import inputs
from gpu.awkward import Run, compared, missing_operators, why

SHAPE = (1, 19, 256, 512)  # four times as many pixels as one block selects from; with whole rows of 16 bytes
ODD = (2, 7, 211, 317)  # also more; 16-bit maps, tails everywhere, a last load of three keys


def runs() -> Iterator[Run]:
    """From the simplest kernel to those that blocks share: where one hangs, what it is built on has run."""
    coarse, fine = (inputs.probabilities(SHAPE, seed, "cpu") for seed in (1, 2))
    odd = [inputs.probabilities(ODD, seed, "cpu").bfloat16() for seed in (3, 4)]
    score = mk.uncertainty_score(coarse, fine, backend="reference")
    few = torch.zeros(ODD[0], 1, *ODD[2:], dtype=torch.bool)
    few[:, :, 100:105, 7:60] = True  # fewer valid pixels than points
    pair, odd_pair = {"coarse": coarse, "fine": fine}, {"coarse": odd[0], "fine": odd[1]}
    yield Run("confidence", "", mk.confidence, {"x": coarse}, True)
    yield Run("median_blur", "7x7", mk.median_blur, {"x": score, "kernel_size": 7}, True)
    yield Run("uncertainty_score", "bfloat16", mk.uncertainty_score, odd_pair, True)
    small = {"score": score[:, :, :90, :300], "n_points": 5000}
    yield Run("select_points", "one block an image", mk.select_points, small, True)
    yield Run("select_points", "many blocks", mk.select_points, {"score": score, "n_points": 5000}, True)
    flat = {"score": torch.full_like(score, 0.37), "n_points": 0.4}
    yield Run("select_points", "equal scores", mk.select_points, flat, True)
    yield Run("refine_step_", "", mk.refine_step_, {**pair, "n_points": 8192, "return_points": True}, True)
    masked = {**odd_pair, "n_points": 9000, "mask": few, "return_points": True}
    yield Run("refine_step", "bfloat16, too few valid pixels", mk.refine_step, masked, True)
    boxes = torch.tensor([[0, 0.0, 0.0, 320.0, 256.0], [0, 200.0, 0.0, 512.0, 256.0]])
    patches = mk.crop_patches(fine, boxes, (192, 240), backend="reference")
    laid = {"patches": patches, "boxes": boxes, "size": SHAPE[2:]}
    yield Run("stitch_patches", "overlapping, resized", mk.stitch_patches, laid, False)
    stage = {"coarse": coarse[:, :, ::2, ::2].clone(), **laid, "n_points": 8192, "labels_only": True}
    yield Run("refine_stage_labels", "", mk.refine_stage, stage, False)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.parity", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("cuda", "triton", "cpu"), default="cuda")
    backend = parser.parse_args(arguments).backend
    missing = missing_operators(backend)
    ran, wrong = 0, 0
    for run in runs():
        print(f"{run.operator} {run.what}".rstrip(), end=": ", flush=True)
        if run.operator in missing:
            print(f"MISSING: {missing[run.operator]}", flush=True)
            continue
        started = time.perf_counter()
        try:
            problem = compared(run, backend)
        except RuntimeError as error:
            problem = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        ran += 1
        wrong += problem is not None
        print(f"WRONG: {problem}" if problem else f"ok, {time.perf_counter() - started:.2f} s", flush=True)
    print(f"{ran} telling cases on backend {backend}, {wrong} wrong, {len(missing)} operators missing{why(missing)}")
    return 1 if wrong or missing or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
