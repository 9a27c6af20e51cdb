"""More than 2^31 elements: offsets and indices that no 32-bit integer holds.

Memory that is never written is never taken: numpy's zeros come from the system as one shared page of zeros.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from live import live
from tolerances import assert_same

from magnet_kernels import confidence, median_blur, refine_step_, replace_points_, select_points

pytestmark = pytest.mark.slow
SIDE, CHANNELS = 5_800, 64
assert SIDE * SIDE * CHANNELS > 2**31


def needs(operator: str, gigabytes: float) -> None:
    """Skip where the compiled kernel (the reference takes many times the memory) or the memory is not there."""
    if "cpu" not in live(operator):
        pytest.skip("the compiled CPU kernel is not live here")
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return
    available = int(text.split("MemAvailable:")[1].split()[0]) / 2**20
    if available < gigabytes + 1:
        pytest.skip(f"needs {gigabytes} GiB of memory, {available:.1f} are free")


def zeros(*shape: int) -> torch.Tensor:
    """Half-precision zeros that take no memory until they are written."""
    return torch.from_numpy(np.zeros(shape, np.float16))


def test_confidence():
    needs("confidence", 1)
    x = zeros(1, CHANNELS, SIDE, SIDE)
    x[0, -1, -1, -3:] = 0.75
    x[0, -2, -1, -2] = 0.25
    result = confidence(x)
    assert result.flatten()[-4:].tolist() == [0, 0.75, 0.5, 0.75]
    assert int(result.count_nonzero()) == 3


def test_median_blur():
    """Expanded planes: the result is what takes memory, 2^31 half-precision elements."""
    needs("median_blur", 5)
    plane = torch.from_numpy(np.zeros((1, 1, 16, 1024), np.float16))
    plane[..., -2:, -5:] = 1
    x = plane.expand(1, 2**17 + 1, 16, 1024)
    assert x.numel() > 2**31
    result = median_blur(x, 3)
    expected = median_blur(plane, 3, backend="reference")
    assert expected.count_nonzero() > 0
    for channel in (0, 2**16, 2**17):
        assert_same(result[:, channel : channel + 1], expected)


def test_select_points():
    """Indices past 2^31: the last column of an expanded map wins."""
    needs("select_points", 5)
    side = 46_342
    row = torch.zeros(1, 1, 1, side, dtype=torch.float16)
    row[..., -1] = 2
    row[..., 0] = 1
    score = row.expand(1, 1, side, side)
    assert score.numel() > 2**31
    points = select_points(score, side + 2)[0]
    last = torch.arange(side) * side + side - 1
    expected = torch.cat([last, torch.tensor([0, side])]).sort().values
    assert_same(points, expected)
    assert points[-1] > 2**31


def test_replace_points():
    needs("replace_points_", 1)
    coarse, fine = zeros(1, CHANNELS, SIDE, SIDE), zeros(1, CHANNELS, SIDE, SIDE)
    fine[0, :, -1, -1] = torch.arange(CHANNELS).half()
    fine[0, :, -1, -2] = 7
    replace_points_(coarse, fine, torch.tensor([[0, SIDE * SIDE - 1]]))
    assert coarse[0, :, -1, -1].tolist() == list(range(CHANNELS))
    assert coarse[0, :, -1, -2].count_nonzero() == 0


def test_refine_step():
    needs("refine_step_", 2)
    coarse, fine = zeros(1, CHANNELS, SIDE, SIDE), zeros(1, CHANNELS, SIDE, SIDE)
    fine[0, -1, -4:, -4:] = 1
    _, points = refine_step_(coarse, fine, n_points=5, return_points=True)
    last = SIDE * SIDE - 1
    inside = [last - y * SIDE - x for y in range(4) for x in range(4) if (y, x) not in ((0, 0), (0, 3), (3, 0), (3, 3))]
    assert points.tolist() == [sorted(inside)[:5]]
    assert int(coarse[0, -1].count_nonzero()) == 5 and int(coarse[0, -2].count_nonzero()) == 0


def test_refine_step_with_many_images():
    """Expanded images and an expanded fine map: strides of 0, offsets past 2^31 in coarse."""
    needs("refine_step_", 2)
    n, h, w, c = 2**13 + 8, 64, 64, 64
    coarse = torch.from_numpy(np.zeros((n, c, h, w), np.float16))
    assert coarse.numel() > 2**31
    fine = torch.zeros(1, c, h, w, dtype=torch.float16)
    fine[0, 3, 10:14, 10:14] = 1
    _, points = refine_step_(coarse, fine.expand(n, c, h, w), n_points=1, return_points=True)
    assert (points == 10 * w + 11).all() and points.shape == (n, 1)
    assert coarse[-1, 3, 10, 11] == 1 and coarse[-1].count_nonzero() == 1
