"""Results of more than 8 MB, which the CPU kernels write past the caches, in rows that begin anywhere in a vector."""

from __future__ import annotations

import pytest
import torch
from live import live
from strategies import MapSpec
from tolerances import assert_close, assert_same

from magnet_kernels import confidence, refine_stage, refine_step, stitch_patches, upsample_confidence

pytestmark = pytest.mark.skipif("cpu" not in live("refine_step"), reason="no compiled CPU kernels")

TYPES = [torch.float32, torch.bfloat16, torch.float64]
LAYOUTS = ["contiguous", "channels_last"]
CLASSES, HEIGHT = 7, 601
LEAST = 8 << 20  # bytes


def map_of(*shape: int, dtype: torch.dtype, layout: str, seed: int = 5) -> torch.Tensor:
    return MapSpec(shape, dtype, "probabilities", layout, seed).make("cpu")


def width(dtype: torch.dtype) -> int:
    """Odd, so that rows and planes are not aligned; wide enough for the result."""
    return LEAST // (CLASSES * HEIGHT * dtype.itemsize) // 2 * 2 + 15


each_map = pytest.mark.parametrize("dtype", TYPES)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@each_map
@each_layout
@pytest.mark.parametrize("ratio", [1, 2])
def test_upsample_confidence(dtype, layout, ratio):
    size = HEIGHT, width(dtype)
    small = map_of(1, CLASSES, -(-size[0] // ratio), -(-size[1] // ratio), dtype=dtype, layout=layout)
    up, margin = upsample_confidence(small, size, backend="cpu")
    assert up.nbytes > LEAST
    expected = upsample_confidence(small, size, backend="reference")[0]
    torch.testing.assert_close(up, expected, rtol=1e-2 if dtype == torch.bfloat16 else 0, atol=1e-5)
    assert_same(margin + 0, confidence(up, backend="reference") + 0)
    if ratio == 1:
        assert_same(up, small)


@each_map
@each_layout
@pytest.mark.parametrize("kind", ["as they are", "resized", "overlapping", "with gaps"])
def test_stitch_patches(dtype, layout, kind):
    size, (y, x) = (HEIGHT, width(dtype)), (300, 133)
    corners = [[0, 0, 0, x, y], [0, x, 0, size[1], y], [0, 0, y, x, HEIGHT], [0, x, y, size[1], HEIGHT]]
    boxes = torch.tensor(corners, dtype=torch.float32)
    shape = (301, size[1] - x) if kind == "as they are" else (97, 61)
    if kind == "overlapping":
        boxes += torch.tensor([0, -9, -3, 8, 5])
    if kind == "with gaps":
        boxes += torch.tensor([0, 9, 3, -8, -5])
    if kind == "as they are":  # the last box has the size of its patch
        boxes = torch.cat([boxes[3:], boxes[3:] - torch.tensor([0, 57, 31, 57, 31])])
    patches = map_of(len(boxes), CLASSES, *shape, dtype=dtype, layout=layout)
    stitched, covered = stitch_patches(patches, boxes, size, backend="cpu")
    assert stitched.nbytes > LEAST
    expected = stitch_patches(patches, boxes, size, backend="reference")
    assert_close(stitched, expected[0])
    assert_same(covered, expected[1])


@each_map
@each_layout
@pytest.mark.parametrize("half", [False, True])
def test_refine_step(dtype, layout, half):
    size = HEIGHT, width(dtype)
    fine = map_of(1, CLASSES, *size, dtype=dtype, layout=layout, seed=6)
    low = [-(-side // 2) for side in size] if half else size
    coarse = map_of(1, CLASSES, *low, dtype=dtype, layout=layout)
    refined, points = refine_step(coarse, fine, n_points=5000, return_points=True, backend="cpu")
    assert refined.nbytes > LEAST
    base = upsample_confidence(coarse, size, backend="cpu")[0]
    expected = refine_step(base, fine, n_points=5000, return_points=True, backend="reference")
    assert_same(points, expected[1])
    assert_same(refined, expected[0])


@each_layout
def test_refine_stage(layout):
    size = HEIGHT, width(torch.float32)
    coarse = map_of(1, CLASSES, 301, (size[1] + 1) // 2, dtype=torch.float32, layout=layout)
    patches = map_of(2, CLASSES, 301, 97, dtype=torch.float32, layout=layout, seed=6)
    boxes = torch.tensor([[0, 3, 1, 100, 302], [0, 77, 200, 174, 501.0]])
    refined, points = refine_stage(coarse, patches, boxes, size, n_points=4000, return_points=True, backend="cpu")
    assert refined.nbytes > LEAST
    fine, covered = stitch_patches(patches, boxes, size, backend="cpu")
    base = upsample_confidence(coarse, size, backend="cpu")[0]
    expected = refine_step(base, fine, mask=covered, n_points=4000, return_points=True, backend="reference")
    assert_same(points, expected[1])
    assert_same(refined, expected[0])
