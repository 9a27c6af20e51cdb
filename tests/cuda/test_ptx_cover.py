"""Compiled kernels that random cases seldom reach: each number of classes that is compiled apart, logits, doubled maps.

Together with the operators' own tests, every kernel that nvcc compiles is launched: tests/ptx/run.py looks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from live import on_emulated_backends
from strategies import DTYPES, MapSpec
from tolerances import TOLERANCES, assert_close, assert_same
from torch import Tensor

import magnet_kernels as mk

pytestmark = pytest.mark.ptx
each_backend = on_emulated_backends()
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
each_kind = pytest.mark.parametrize("logits", [False, True], ids=["probabilities", "logits"])

BOXES = torch.tensor([[0, -3.0, 2, 50, 20], [1, 30, 1, 90, 24], [0, 20, 5, 83, 21], [1, 2, 2, 34, 18]])


def check(function: Callable[..., Tensor], *maps: Tensor, backend: str, logits: bool, **options: object) -> None:
    actual, expected = (function(*maps, from_logits=logits, backend=b, **options) for b in (backend, "reference"))
    (assert_close if logits else assert_same)(actual, expected)


def check_step(x: Tensor, y: Tensor, backend: str, logits: bool, kernel_size: int, n_points: int) -> None:
    """Like the reference of the map as this backend upsamples it; of logits, few points may differ by rounding."""
    given = {"n_points": n_points, "kernel_size": kernel_size, "from_logits": logits, "return_points": True}
    stored = x
    if x.shape != y.shape:
        stored = mk.upsample_confidence(x, y.shape[2:], from_logits=logits, backend=backend)[0]
    out, points = mk.refine_step(x, y, **given, backend=backend)
    expected, expected_points = mk.refine_step(stored, y, **given, backend="reference")
    if logits:
        different = sum(len(set(a.tolist()) ^ set(e.tolist())) for a, e in zip(points, expected_points, strict=True))
        assert different <= 2 + 0.04 * points.numel(), f"{different} points differ"
        expected = mk.replace_points(stored, y, points, backend="reference")
    else:
        assert_same(points, expected_points)
    assert_same(out, expected)


@each_backend
@each_dtype
@each_layout
@each_kind
@pytest.mark.parametrize("classes", [2, 5, 7, 8, 11, 19, 21, 150])
@pytest.mark.many_blocks
def test_every_number_of_classes(backend, dtype, layout, logits, classes):
    content = "normal" if logits else "probabilities"
    h, w = (6, 64) if classes > 100 else (9, 168)
    x, y = (MapSpec((2, classes, h, w), dtype, content, layout, s).make() for s in (1, 2))
    check(mk.confidence, x, backend=backend, logits=logits)
    check(mk.uncertainty_score, x, y, backend=backend, logits=logits, kernel_size=1)
    half = MapSpec((2, classes, h // 2, w // 2), dtype, content, layout, 3).make()
    even = MapSpec((2, classes, h // 2 * 2, w // 2 * 2), dtype, content, layout, 2).make()
    check_step(half, even, backend, logits, 3, 100)
    third = MapSpec((2, classes, max(h // 3, 1), w // 3), dtype, content, layout, 3).make()
    check_step(third, y, backend, logits, 3, 100)


@each_backend
@each_dtype
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9, 11, 13, 15])
@pytest.mark.parametrize("size", [(40, 260), (7, 33)], ids=str)
@pytest.mark.many_blocks
def test_every_median(backend, dtype, kernel_size, size):
    x, y = (MapSpec((1, 2, *size), dtype, "ties", "contiguous", s).make() for s in (1, 2))
    check_step(x, y, backend, False, kernel_size, 200)


@each_backend
@each_dtype
@each_layout
@each_kind
@pytest.mark.parametrize("classes", [2, 7, 19])
@pytest.mark.parametrize("small", [(12, 48), (7, 30)], ids=["doubled", "enlarged"])
@pytest.mark.many_blocks
def test_every_stage(backend, dtype, layout, logits, classes, small):
    """Like the operators it is made of."""
    x = MapSpec((2, classes, *small), dtype, "probabilities", layout, 1).make()
    patches = MapSpec((4, classes, 16, 32), dtype, "normal" if logits else "probabilities", layout, 2).make()
    size = (24, 96)
    given = {"n_points": 300, "kernel_size": 3, "backend": backend, "return_points": True, "from_logits": logits}
    out, points = mk.refine_stage(x, patches, BOXES, size, **given)
    labels, again = mk.refine_stage(x, patches, BOXES, size, labels_only=True, **given)
    assert_same(again, points)
    assert_same(labels, out.argmax(1).to(torch.uint8))
    if logits:
        patches = patches.to(torch.promote_types(dtype, torch.float32)).softmax(1).to(dtype)
    up = mk.upsample_confidence(x, size, backend=backend)[0]
    fine, covered = mk.stitch_patches(patches, BOXES, size, batch_size=2, backend=backend)
    options = {"mask": covered, "n_points": 300, "kernel_size": 3, "return_points": True}
    expected, expected_points = mk.refine_step(up, fine, **options, backend="reference")
    if not logits:
        assert_same(points, expected_points)
        assert_same(out, expected)
        return
    assert (points != expected_points).float().mean() < 0.05
    near = (out.double() - expected.double()).abs().amax(1) <= TOLERANCES[dtype][1] * 4
    assert near.float().mean() > 0.95
