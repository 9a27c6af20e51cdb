"""refine_step, in place and out of place, against torch and torch.compile; and its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import memory
import pytest
import torch
from competitors import (
    fused_refine,
    fused_refine_,
    plain_refine,
    plain_refine_,
    plain_refine_upsampled,
    why_not_compiled,
)
from harness import Case, backend_of, cached, describe, nbytes, pair, parametrize, timed
from live import environment_of_a_program
from report import OURS
from targets import N_POINTS
from torch import Tensor

from magnet_kernels import refine_step, refine_step_

pytest.importorskip("pytest_benchmark", reason="benchmarks need pytest-benchmark: pip install '.[benchmark]'")
SHAPE = (1, 19, 1024, 2048)
DEEPGLOBE = (1, 7, 2448, 2448)


def ours_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    return refine_step_(coarse, fine, n_points=n_points)


def ours(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    return refine_step(coarse, fine, n_points=n_points)


def few_differ(theirs: Tensor, ours: Tensor) -> None:
    """Equal but for pixels whose score is exactly the last one chosen: torch takes any of them, we the first."""
    different = int((theirs != ours).any(dim=1).sum())
    assert different <= 64, f"{different} pixels differ"
    assert torch.isfinite(theirs).all()


def moved(coarse: Tensor, fine: Tensor, n_points: int) -> int:
    values = coarse.shape[0] * n_points * (2 * coarse.shape[1] * coarse.element_size() + 8)
    return nbytes(coarse, fine) + values


def in_place_case(
    name: str, shape: tuple[int, int, int, int], n_points: int, rivals: str = "reference", **options
) -> Case:
    def prepare():
        coarse, fine = pair(shape, **options)
        written = cached(("written", shape, *options.values()), coarse.clone)
        return (written, fine, n_points), moved(coarse, fine, n_points)

    def reset(written: Tensor, fine: Tensor, n_points: int) -> None:
        written.copy_(pair(shape, **options)[0])

    variants = {OURS: ours_, "reference": plain_refine_, "compile": fused_refine_}
    kept = {name: variants[name] for name in (OURS, *rivals.split())}
    same = few_differ if options.get("dtype", torch.float32) == torch.float32 else differ_by_rounding
    return Case(name, "refine_step_", prepare, kept, same, reset=reset)


def differ_by_rounding(theirs: Tensor, ours: Tensor) -> None:
    """The plain code makes its scores in bf16, so that it chooses other points: most of the map must agree."""
    agreement = (theirs == ours).all(dim=1).float().mean().item()
    assert agreement > 0.95, f"only {agreement:.1%} of the pixels agree"


def out_of_place_case() -> Case:
    def prepare():
        coarse, fine = pair(SHAPE)
        return (coarse, fine, N_POINTS), moved(coarse, fine, N_POINTS) + nbytes(coarse)

    variants = {OURS: ours, "reference": plain_refine, "compile": fused_refine}
    return Case("refine_step", "refine_step", prepare, variants, few_differ)


def half_size_case(name: str, n_points: int) -> Case:
    def prepare():
        coarse, fine = pair(SHAPE)
        half = cached("half", lambda: coarse[:, :, ::2, ::2].contiguous())
        return (half, fine, n_points), moved(half, fine, n_points) + nbytes(fine)

    def same(theirs: Tensor, ours: Tensor) -> None:
        different = int(((theirs - ours).abs() > 1e-5).any(dim=1).sum())
        assert different <= 64, f"{different} pixels differ"

    label = lambda coarse, fine, n_points: describe(fine)  # noqa: E731
    variants = {OURS: ours, "reference": plain_refine_upsampled}
    return Case(name, "refine_step", prepare, variants, same, label=label)


CASES = [
    in_place_case("refine_step_", SHAPE, N_POINTS, rivals="reference compile"),
    out_of_place_case(),
    half_size_case("refine_step, half-size coarse", N_POINTS),
    half_size_case("refine_step, half-size coarse, K=64", 64),
    in_place_case("refine_step_", SHAPE, N_POINTS, dtype=torch.bfloat16),
    in_place_case("refine_step_", SHAPE, N_POINTS, layout=torch.channels_last),
    in_place_case("refine_step_ 75%", DEEPGLOBE, int(0.75 * DEEPGLOBE[2] * DEEPGLOBE[3])),
]


@parametrize(CASES)
def test_refine_step(case, variant, benchmark, report):
    if variant == "compile" and (reason := why_not_compiled()):
        report.notes.add(reason)
        pytest.skip(reason)
    timed(case, variant, benchmark, report)


@pytest.mark.parametrize("case", ["contiguous", "channels_last", "mask"])
def test_memory(case, report):
    if not Path("/proc/self/clear_refs").exists() or backend_of("refine_step_", OURS) != "cpu":
        pytest.skip("reads the peak of resident memory of the CPU kernel from /proc")
    command = [sys.executable, memory.__file__, case]
    environment = environment_of_a_program(MALLOC_MMAP_THRESHOLD_="65536")
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    report.memory[case] = float(run.stdout.split()[0])
