"""select_points and replace_points against torch.topk, gather and scatter."""

from __future__ import annotations

import pytest
from competitors import plain_replace, plain_replace_, plain_select
from harness import Case, cached, close, describe, nbytes, pair, parametrize, timed
from report import OURS
from targets import N_POINTS
from torch import Tensor

from magnet_kernels import replace_points, replace_points_, select_points, uncertainty_score

pytest.importorskip("pytest_benchmark", reason="benchmarks need pytest-benchmark: pip install '.[benchmark]'")
SHAPE = (1, 19, 1024, 2048)
DEEPGLOBE = (1, 7, 2448, 2448)


def scores(shape: tuple[int, int, int, int]) -> Tensor:
    return cached(("scores", shape), lambda: uncertainty_score(*pair(shape)))


def select_case(name: str, shape: tuple[int, int, int, int], n_points: int) -> Case:
    def prepare():
        return (scores(shape), n_points), nbytes(scores(shape)) + 8 * n_points * shape[0]

    def same(theirs: Tensor, ours: Tensor) -> None:
        values = scores(shape).flatten(1)  # equal scores may be taken from different pixels
        close(0)(values.gather(1, theirs).sort().values, values.gather(1, ours).sort().values)

    label = lambda *_: describe(pair(shape)[0])  # noqa: E731
    return Case(name, "select_points", prepare, {OURS: select_points, "reference": plain_select}, same, label=label)


def replace_case(in_place: bool) -> Case:
    def prepare():
        coarse, fine = pair(SHAPE)
        written = cached("written", coarse.clone)
        points = cached("points", lambda: select_points(scores(SHAPE), N_POINTS))
        values = points.numel() * SHAPE[1] * coarse.element_size()
        return (written, fine, points), nbytes(points) + 2 * values + (0 if in_place else 2 * nbytes(coarse))

    def reset(written: Tensor, fine: Tensor, points: Tensor) -> None:
        written.copy_(pair(SHAPE)[0])

    ours, plain = (replace_points_, plain_replace_) if in_place else (replace_points, plain_replace)
    name = "replace_points_" if in_place else "replace_points"
    variants = {OURS: ours, "reference": plain}
    return Case(name, name, prepare, variants, close(0), reset=reset if in_place else None)


CASES = [
    select_case("select_points", SHAPE, N_POINTS),
    select_case("select_points 75%", DEEPGLOBE, int(0.75 * DEEPGLOBE[2] * DEEPGLOBE[3])),
    replace_case(in_place=True),
    replace_case(in_place=False),
]


@parametrize(CASES)
def test_points(case, variant, benchmark, report):
    timed(case, variant, benchmark, report)
