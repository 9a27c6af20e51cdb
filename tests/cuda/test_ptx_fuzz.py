"""A few random cases of every operator as compiled; tests/ptx/fuzz.py runs as many as there is time for."""

from __future__ import annotations

import pytest
import torch
from live import on_emulated_backends

import magnet_kernels as mk

pytestmark = pytest.mark.ptx
OPERATORS = (
    "confidence",
    "median_blur",
    "uncertainty_score",
    "select_points",
    "replace_points",
    "refine_step",
    "refine_stage",
    "crop_patches",
    "stitch_patches",
    "patch_uncertainty",
    "upsample_confidence",
)


@on_emulated_backends()
@pytest.mark.parametrize("operator", OPERATORS)
def test_random_cases(backend, operator):
    from ptx import fuzz

    assert sorted(fuzz.CASES) == sorted(OPERATORS)
    for seed in range(6):
        what, error = fuzz.run(operator, backend, seed)
        if error is not None:
            raise AssertionError(f"seed {seed}: {what}") from error


@on_emulated_backends()
@pytest.mark.parametrize("operator", ["select_points", "refine_step", "refine_stage"])
def test_random_cases_reach_every_kernel_that_selects(backend, operator):
    """Also those of images whose points several blocks select together."""
    from ptx import backends, fuzz

    if backend not in backends.CUDA:
        pytest.skip("Triton selects by the same kernels whatever the size")
    kernels = "list_image", "count_candidates", "count_digit", "list_tiles"
    before = fuzz.launches(backend)
    for seed in range(100, 140):
        what, error = fuzz.run(operator, backend, seed)
        if error is not None:
            raise AssertionError(f"seed {seed}: {what}") from error
        counts = fuzz.launches(backend)
        few = [name for name in kernels if counts.get(name, 0) - before.get(name, 0) < 2]
        if not few:
            return
    raise AssertionError(f"not launched twice by 40 cases: {few}")


@on_emulated_backends()
@pytest.mark.parametrize(
    ("shape", "launches"),
    [
        ((1, 2, 128, 128), 4),  # score, median, list_image, replacement
        ((1, 2, 129, 128), 4),  # score, median, count_candidates, list_tiles with the replacement
        ((8, 2, 128, 256), 5),  # digit by digit
        ((64, 2, 130, 128), 4),  # one block an image again
    ],
)
def test_launches_of_refine_step(backend, shape, launches):
    """As docs/performance.md counts them, and each of them executes something."""
    from ptx import backends, emulator

    if backend not in backends.CUDA:
        launches = 8  # Triton: whatever the shape, beside torch's that clears the workspace
    coarse, fine = (torch.rand(shape, generator=torch.Generator().manual_seed(i)).softmax(1) for i in (0, 1))
    with emulator.launches() as found:
        mk.refine_step_(coarse, fine, n_points=100, backend=backend)
    assert len(found) == launches, found
    with emulator.launches() as none:
        mk.refine_step_(coarse, fine, n_points=0, backend=backend)
    assert none == []
    assert all(instructions > 0 for _, instructions in found)
