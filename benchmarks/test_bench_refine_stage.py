"""A whole scale at once, to its map and to its labels, against plain torch code and against our operators in turn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from competitors import plain_crop, plain_refine_, plain_stitch
from harness import Case, cached, describe, nbytes, pair, parametrize, timed
from report import OURS
from targets import N_POINTS
from torch import Tensor

from magnet_kernels import refine_stage, refine_step, stitch_patches

pytest.importorskip("pytest_benchmark", reason="benchmarks need pytest-benchmark: pip install '.[benchmark]'")
SHAPE = (1, 19, 1024, 2048)
PATCH = (256, 512)
SIZE = SHAPE[2:]


def stage(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    return refine_stage(coarse, patches, boxes, SIZE, n_points=N_POINTS)


def stage_labels(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    return refine_stage(coarse, patches, boxes, SIZE, n_points=N_POINTS, labels_only=True)


def in_turn(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    fine, covered = stitch_patches(patches, boxes, SIZE)
    return refine_step(coarse, fine, n_points=N_POINTS, mask=covered)


def in_turn_labels(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    return in_turn(coarse, patches, boxes).argmax(1)


def plain(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    wide = F.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    return plain_refine_(wide, plain_stitch(patches, boxes, SIZE)[0], N_POINTS)


def plain_labels(coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
    return plain(coarse, patches, boxes).argmax(1)


def few_differ(theirs: Tensor, ours: Tensor) -> None:
    """Equal but for pixels whose score is within rounding of the last one chosen."""
    wrong = (theirs != ours) if ours.dtype == torch.uint8 else ((theirs - ours).abs() > 1e-5).any(dim=1)
    assert int(wrong.sum()) <= 64, f"{int(wrong.sum())} pixels differ"


def stage_case(name: str, variants: dict, bytes_out: int) -> Case:
    def prepare():
        y, x = range(0, SIZE[0], PATCH[0]), range(0, SIZE[1], PATCH[1])
        boxes = torch.tensor([[0, left, top, left + PATCH[1], top + PATCH[0]] for top in y for left in x]).float()
        coarse, fine = pair(SHAPE)
        half = cached("half", lambda: coarse[:, :, ::2, ::2].contiguous())
        patches = cached("tiles", lambda: plain_crop(fine, boxes, PATCH))
        return (half, patches, boxes), nbytes(half, patches) + bytes_out

    label = lambda *_: describe(pair(SHAPE)[0])  # noqa: E731
    return Case(name, "refine_stage", prepare, variants, few_differ, label=label)


PIXELS = SIZE[0] * SIZE[1]
CASES = [
    stage_case("refine_stage", {OURS: stage, "reference": plain}, PIXELS * SHAPE[1] * 4),
    stage_case("  operator by operator", {OURS: in_turn}, PIXELS * SHAPE[1] * 4),
    stage_case("refine_stage to labels", {OURS: stage_labels, "reference": plain_labels}, PIXELS),
    stage_case("  operator by operator, argmax", {OURS: in_turn_labels}, PIXELS),
]


@parametrize(CASES)
def test_refine_stage(case, variant, benchmark, report):
    timed(case, variant, benchmark, report)
