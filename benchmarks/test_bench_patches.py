"""The patch operators against slices, interpolate and a loop."""

from __future__ import annotations

import pytest
import torch
from competitors import plain_crop, plain_patch_uncertainty, plain_stitch, plain_upsample_confidence
from harness import Case, cached, close, describe, nbytes, pair, parametrize, timed
from report import OURS
from torch import Tensor

from magnet_kernels import crop_patches, patch_uncertainty, stitch_patches, upsample_confidence

pytest.importorskip("pytest_benchmark", reason="benchmarks need pytest-benchmark: pip install '.[benchmark]'")
SHAPE = (1, 19, 1024, 2048)
PATCH = (256, 512)


def grid(step: int = 1, of: int = 1) -> Tensor:
    """Boxes of PATCH all over the map, ``of / step`` of a patch apart: with ``step`` 2 they overlap by half."""
    ys = range(0, SHAPE[2] - PATCH[0] + 1, PATCH[0] * of // step)
    xs = range(0, SHAPE[3] - PATCH[1] + 1, PATCH[1] * of // step)
    return torch.tensor([[0, x, y, x + PATCH[1], y + PATCH[0]] for y in ys for x in xs]).float()


def upsample_case() -> Case:
    def prepare():
        half = cached("half", lambda: pair(SHAPE)[0][:, :, ::2, ::2].contiguous())
        return (half, SHAPE[2:]), nbytes(half) * 5 + SHAPE[2] * SHAPE[3] * 4

    label = lambda *_: describe(pair(SHAPE)[0])  # noqa: E731
    variants = {OURS: upsample_confidence, "reference": plain_upsample_confidence}
    return Case("upsample_confidence x2", "upsample_confidence", prepare, variants, close(1e-5), label=label)


def crop_case() -> Case:
    def prepare():
        x = pair(SHAPE)[0]
        return (x, grid(), PATCH), 2 * nbytes(x)

    return Case("crop_patches 8", "crop_patches", prepare, {OURS: crop_patches, "reference": plain_crop}, close(1e-6))


def stitch_case(name: str, boxes: Tensor, shrink: int = 1) -> Case:
    """``shrink`` 2: patches of half their boxes' size."""

    def prepare():
        cut = lambda: plain_crop(pair(SHAPE)[0], boxes, PATCH)[:, :, ::shrink, ::shrink].contiguous()  # noqa: E731
        patches = cached(("patches", name), cut)
        return (patches, boxes, SHAPE[2:]), nbytes(patches) + nbytes(pair(SHAPE)[0]) + SHAPE[2] * SHAPE[3]

    def same(theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
        close(1e-6)(theirs[0], ours[0])
        assert torch.equal(theirs[1], ours[1])

    label = lambda *_: describe(pair(SHAPE)[0])  # noqa: E731
    variants = {OURS: stitch_patches, "reference": plain_stitch}
    return Case(name, "stitch_patches", prepare, variants, same, label=label)


def uncertainty_case() -> Case:
    def prepare():
        x = pair(SHAPE)[0]
        return (x, grid(2)), nbytes(x)

    variants = {OURS: patch_uncertainty, "reference": plain_patch_uncertainty}
    return Case("patch_uncertainty", "patch_uncertainty", prepare, variants, close(1e-5))


CASES = [
    upsample_case(),
    crop_case(),
    stitch_case("stitch_patches", grid()),
    stitch_case("stitch_patches x2", grid(), shrink=2),
    stitch_case("stitch_patches, a quarter overlaps", grid(4, of=3)),
    stitch_case("stitch_patches, overlapping", grid(2)),
    uncertainty_case(),
]


@parametrize(CASES)
def test_patches(case, variant, benchmark, report):
    timed(case, variant, benchmark, report)
