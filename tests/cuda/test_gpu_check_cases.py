"""benchmarks/gpu: what is measured, and which results are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu import arithmetic, compare, inputs, measure
from gpu.__main__ import chosen_cases, options
from gpu.arithmetic import Times, percentile
from gpu.case import Case
from gpu.cases import SMOKE, all_cases
from targets import GPU_3_PERCENT, GPU_90_PERCENT, GPU_SELECT, GPU_TARGETS

pytestmark = pytest.mark.slow

# --- arithmetic


@pytest.mark.parametrize(
    ("values", "p", "expected"), [([3.0], 80, 3.0), ([4.0, 1.0, 3.0, 2.0, 5.0], 50, 3.0), ([0.0, 10.0], 20, 2.0)]
)
def test_percentile(values, p, expected):
    assert percentile(values, p) == pytest.approx(expected)


def test_times_are_ordered_whatever_came_first():
    assert Times.of([5.0, 1.0, 4.0, 2.0, 3.0, 6.0]) == Times(3.5, 2.0, 5.0, 6)


@pytest.mark.parametrize(("one", "rounds"), [(1.0, 1), (0.2, 3), (0.01, 10), (0.0, 50)])
def test_rounds_fit_the_budget(one, rounds):
    assert arithmetic.rounds_for(one, 0.1, 3, 50) == rounds


def test_bytes_of_the_case_that_counts():
    """What DESIGN counts: both maps once, 319 MB in fp32 and 159 MB in bf16; then the points."""
    shape = (1, 19, 1024, 2048)
    assert round(arithmetic.refine_bytes(shape, 4, 0, in_place=True) / 1e6) == 319
    assert round(arithmetic.refine_bytes(shape, 2, 0, in_place=True) / 1e6) == 159
    points = arithmetic.refine_bytes(shape, 4, 65536, in_place=True) - arithmetic.refine_bytes(
        shape, 4, 0, in_place=True
    )
    assert points == 65536 * (19 * 4 + 8)


def test_fraction_of_the_floor():
    assert arithmetic.fraction_of_floor(4_000, 1_000.0, 8.0) == pytest.approx(0.5)


def tensors(values: Any) -> list[torch.Tensor]:
    return [x for x in (values if isinstance(values, (tuple, list)) else [values]) if isinstance(x, torch.Tensor)]


def of_one_pass(case: Case) -> bool:
    """Every argument is read once and every result written once, so that their sizes are the bytes that must move."""
    return case.operator not in ("refine_step_", "replace_points_", "replace_points", "refine_stage") and not (
        case.operator == "refine_stage_labels" and "from_logits" in case.name
    )


@pytest.mark.parametrize("case", [c for c in all_cases("cpu", SMOKE) if of_one_pass(c)], ids=lambda case: case.key)
def test_bytes_are_those_of_the_tensors(case):
    arguments = case.make(0)
    if case.operator == "refine_stage_labels":
        arguments = arguments[:2]  # the rest are boxes and, for rivals, what is stitched
    results = tensors(case.ours("reference")(*case.make(0)))
    boxes = (
        0
        if case.operator == "refine_stage_labels"
        else sum(x.nbytes for x in tensors(arguments) if x.shape[-1:] == (5,))
    )
    listed = 8 * case.n_points * case.shape[0] if case.operator == "refine_step" else 0  # points are not returned
    moved = sum(x.nbytes for x in (*tensors(arguments), *results)) - boxes
    assert moved + listed == case.bytes_moved


def test_cases_differ_and_hold_every_figure_to_reach():
    keys = [case.key for case in all_cases("cpu")]
    assert len(set(keys)) == len(keys)
    rivals = {case.key: {*case.rivals, *case.combined} for case in all_cases("cpu")}
    for target in GPU_TARGETS:
        assert target.case in keys
        if target.kind == "times the case":
            assert target.other in keys
        elif target.other:
            assert any(name.startswith(target.other) for name in rivals[target.case])


def test_no_figure_asks_for_what_bytes_forbid():
    """A case with more bytes than another may take as much longer as they are more, and a little beyond."""
    shape, bytes_of = (1, 19, 1024, 2048), {}
    for key in (GPU_3_PERCENT, GPU_90_PERCENT):
        n_points = int(key.rsplit("=", 1)[1])
        maps = arithmetic.refine_bytes(shape, 4, 0, in_place=True)
        bytes_of[key] = maps + 2 * n_points * shape[1] * 4  # values read again, once the choice is known, and written
    for target in GPU_TARGETS:
        if target.kind == "times the case":
            least = bytes_of[target.case.removesuffix(" flat")] / bytes_of[target.other]
            assert least < target.limit < 1.2 * least
        if target.kind == "fraction":
            assert target.limit <= 0.8


def test_cases_with_figures_come_first_in_their_order():
    chosen = chosen_cases(all_cases("cpu"), options(["--out", "x", "--cases", "targets"]))
    keys = [case.key for case in chosen]
    assert keys[0] == GPU_TARGETS[0].case and keys[1] == GPU_TARGETS[1].case and GPU_SELECT in keys
    assert {target.case for target in GPU_TARGETS} <= set(keys)
    rest = [case.key for case in chosen_cases(all_cases("cpu"), options(["--out", "x", "--cases", "rest"]))]
    assert sorted([*keys, *rest]) == sorted(case.key for case in all_cases("cpu"))


def test_cases_cover_what_was_asked_for():
    cases = all_cases("cpu")
    operators = {case.operator for case in cases}
    assert operators == {name for name in measure.available_backends() if not name.endswith(("_backward", "_out"))}
    refine = [case for case in cases if case.operator == "refine_step_"]
    assert {case.shape[1] for case in refine} >= {2, 7, 19, 150}
    assert {case.shape[2:] for case in refine} >= {(512, 1024), (1024, 2048), (8192, 8192)}
    shares = {round(case.n_points / (case.shape[2] * case.shape[3]), 2) for case in refine}
    assert min(shares) == 0.01 and max(shares) == 0.9
    assert {case.scores for case in refine} == {"clustered", "scattered", "flat"}
    assert {str(case.dtype) for case in refine} == {"torch.float32", "torch.bfloat16"}


# --- inputs


@pytest.mark.parametrize("kind", ["clustered", "scattered", "flat"])
def test_inputs_are_random_probabilities(kind):
    a, b = (inputs.probabilities((1, 5, 40, 70), seed, "cpu", kind) for seed in (1, 2))
    torch.testing.assert_close(a.sum(dim=1), torch.ones(1, 40, 70))
    assert bool((a > 0).all()) and not torch.equal(a, b)
    assert torch.equal(a, inputs.probabilities((1, 5, 40, 70), 1, "cpu", kind))
    planes = a.flatten(2)
    assert bool((planes.amax(dim=2) == planes.amin(dim=2)).all()) == (kind == "flat")


# --- comparisons: each must refuse a wrong result


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    return inputs.probabilities((1, 3, 40, 60), 1, "cpu"), inputs.probabilities((1, 3, 40, 60), 2, "cpu")


def first_pixels(coarse: torch.Tensor, fine: torch.Tensor, start: int, count: int) -> torch.Tensor:
    result = coarse.clone()
    result.flatten(2)[..., start : start + count] = fine.flatten(2)[..., start : start + count]
    return result


def accepts(same: Callable[..., None], theirs: Any, expected: Any, arguments: tuple[Any, ...] = ()) -> bool:
    try:
        same(theirs, expected, arguments)
    except AssertionError as error:
        assert str(error), "an error says what differs"
        return False
    return True


def test_identical_and_close():
    x = maps()[0]
    nudged = x.clone()
    nudged[0, 0, 0, 0] += 1e-4
    assert accepts(compare.identical, x, x.clone()) and not accepts(compare.identical, nudged, x)
    assert not accepts(compare.identical, x.double(), x)
    assert accepts(compare.close(1e-3), nudged, x) and not accepts(compare.close(1e-5), nudged, x)
    assert not accepts(compare.close(1.0), x * float("nan"), x)
    covered = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert accepts(compare.close(0), (x, covered), (x, covered)) and not accepts(
        compare.close(1), (x, ~covered), (x, covered)
    )


def test_few_pixels():
    coarse, fine = maps()
    expected = first_pixels(coarse, fine, 0, 500)
    assert accepts(compare.few_pixels, first_pixels(coarse, fine, 3, 500), expected)
    assert not accepts(compare.few_pixels, first_pixels(coarse, fine, 20, 500), expected)
    assert not accepts(compare.few_pixels, expected * float("inf"), expected)
    assert accepts(compare.few_pixels_within(1e-3), expected + 1e-4, expected)
    assert not accepts(compare.few_pixels_within(1e-5), expected + 1e-4, expected)


def test_flat_and_half_precision():
    coarse, fine = maps()
    arguments, expected = (coarse, fine), first_pixels(coarse, fine, 0, 500)
    assert accepts(compare.as_many_replaced, first_pixels(coarse, fine, 900, 500), expected, arguments)
    assert not accepts(compare.as_many_replaced, first_pixels(coarse, fine, 900, 499), expected, arguments)
    assert not accepts(compare.as_many_replaced, first_pixels(coarse, fine * 1.01, 900, 500), expected, arguments)
    assert accepts(compare.mostly_the_same_points, first_pixels(coarse, fine, 100, 500), expected, arguments)
    assert not accepts(compare.mostly_the_same_points, first_pixels(coarse, fine, 300, 500), expected, arguments)
    assert not accepts(compare.mostly_the_same_points, first_pixels(coarse, fine * 1.01, 0, 500), expected, arguments)


def test_same_scores():
    score = torch.tensor([[[[0.1, 0.7, 0.7, 0.9]]]])
    expected = torch.tensor([[1, 3]])
    for points, good in (([[3, 2]], True), ([[3, 0]], False), ([[3, 3]], False), ([[3]], False), ([[3, 9]], False)):
        assert accepts(compare.same_scores, torch.tensor(points), expected, (score,)) == good
        assert accepts(compare.same_scores, torch.tensor(points, dtype=torch.int32), expected, (score,)) == good
