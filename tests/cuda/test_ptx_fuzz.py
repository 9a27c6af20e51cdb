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
