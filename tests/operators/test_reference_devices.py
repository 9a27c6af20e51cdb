"""The reference is the specification, so that it must give the same on every device, whatever each does on its own.

torch divides by a number correctly on a CPU; on a GPU it multiplies by the rounded reciprocal. Where coordinates and
weights came of that, the reference on a GPU was another one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from like_cuda import DividesLikeCuda
from live import on_live_devices
from tolerances import assert_close, assert_same
from torch import Tensor

from magnet_kernels.reference.crop_patches import crop_patches, crop_patches_backward
from magnet_kernels.reference.patch_uncertainty import patch_uncertainty, patch_uncertainty_backward
from magnet_kernels.reference.refine_stage import refine_stage
from magnet_kernels.reference.refine_step import refine_step, upsample
from magnet_kernels.reference.stitch_patches import stitch_patches, stitch_patches_backward
from magnet_kernels.reference.upsample_confidence import upsample_backward, upsample_confidence

# 27 / 115 and 3 / 7 are not 27 * (1 / 115) and 3 * (1 / 7) in float32
SIZES = [((1, 27), (2, 115)), ((1, 3), (3, 7)), ((19, 67), (59, 157)), ((13, 11), (49, 41))]
BOXES = torch.tensor([[0, 0, 0, 115, 49], [1, 3, -5, 50, 36], [1, 7.3, 2.2, 61.9, 23.1]], dtype=torch.float64)
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def random(device: str, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)).to(device, dtype)


def exact(device: str, dtype: torch.dtype) -> list[Any]:
    """What has to have the same bits everywhere."""
    boxes, results = BOXES.to(device), list[Any]()
    for small, large in SIZES:
        x, fine, patches = (random(device, dtype, n, 3, *size) for n, size in ((2, small), (2, large), (3, small)))
        results += [
            upsample(x, large),
            upsample_confidence(x, *large),
            refine_step(x, fine, None, 5, 3, False),
            stitch_patches(patches, boxes, 53, 120, 2),
            stitch_patches(random(device, dtype, 3, 3, *large), boxes, 53, 120, 2),
            refine_stage(x, patches, boxes, *large, 5, 3, False),
            *(crop_patches(fine, boxes, *small, aligned) for aligned in (False, True)),
        ]
    return flat(results)


def summed(device: str, dtype: torch.dtype) -> list[Any]:
    """What a GPU adds up in an order of its own."""
    boxes, results = BOXES.to(device), list[Any]()
    for small, large in SIZES:
        fine, patches = (random(device, dtype, n, 3, *large) for n in (2, 3))
        results += [
            upsample_backward(fine, *small),
            stitch_patches_backward(random(device, dtype, 2, 3, 53, 120), boxes, *small),
            patch_uncertainty(fine, boxes),
            patch_uncertainty_backward(random(device, dtype, 3), boxes, 2, *large),
            *(crop_patches_backward(patches, boxes, 2, *small, aligned) for aligned in (False, True)),
        ]
    return flat(results)


def flat(results: list[Any]) -> list[Tensor]:
    return [x for result in results for x in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [exact, summed])
def test_dividing_like_a_gpu_changes_nothing(make, dtype):
    expected = make("cpu", dtype)
    with DividesLikeCuda():
        results = make("cpu", dtype)
    for actual, right in zip(results, expected, strict=True):
        assert_same(actual, right)


@on_live_devices("refine_step")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_on_each_device(device, dtype):
    for actual, expected in zip(exact(device, dtype), exact("cpu", dtype), strict=True):
        assert actual.device.type == device
        assert_same(actual.cpu(), expected)
    for actual, expected in zip(summed(device, dtype), summed("cpu", dtype), strict=True):
        assert_close(actual, expected)


def test_the_number_of_samples_is_the_same():
    """Of a box so many times as large as its patch: 3 * 7 * (1 / 7), rounded, is above 3, which is a sample more."""
    for size in range(1, 60):
        for times in (3, 7):
            x, boxes = random("cpu", torch.float32, 1, 1, 1, size * times), torch.zeros(1, 5)
            boxes[0, 3:] = torch.tensor([size * times, 1])
            expected = crop_patches(x, boxes, 1, size, True)
            with DividesLikeCuda():
                assert_same(crop_patches(x, boxes, 1, size, True), expected)


def test_the_imitation_divides_otherwise():
    x = torch.tensor([3.0, 27.0])
    with DividesLikeCuda():
        assert (x / 7)[0] != x[0] / torch.tensor(7.0) and (x / 115)[1] != x[1] / torch.tensor(115.0)
        assert x.clone().div_(7)[0] == (x / 7)[0]
