"""A few random cases of every operator as compiled; tests/ptx/fuzz.py runs as many as there is time for."""

from __future__ import annotations

import pytest
from live import on_emulated_backends

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
