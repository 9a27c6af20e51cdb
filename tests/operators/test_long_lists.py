"""Lists of boxes of any length: short ones are an argument of a CUDA kernel, long ones go into memory in pieces."""

from __future__ import annotations

import pytest
import torch
from live import DEVICES, on_live_backends
from seeded import rand
from tolerances import TOLERANCES, assert_close, assert_same
from torch import Tensor

from magnet_kernels import crop_patches, patch_uncertainty, refine_stage, stitch_patches

H, W = 23, 31
lengths = pytest.mark.parametrize("count", [32, 33, 65, 97, 180, 400])


def boxes(count: int) -> Tensor:
    """Each of 4 x 5 pixels, somewhere in one of two images."""
    corner = (rand("boxes", count, 2) * torch.tensor([W - 5, H - 4])).floor()
    image = torch.arange(count)[:, None] % 2
    return torch.cat([image, corner, corner + torch.tensor([5, 4])], dim=1)


def maps(name: str, n: int, h: int, w: int, backend: str) -> Tensor:
    return rand(name, n, 3, h, w).softmax(1).to(DEVICES[backend])


@on_live_backends("crop_patches")
@lengths
def test_crop_patches(backend: str, count: int) -> None:
    x = maps("x", 2, H, W, backend)
    for size in ((4, 5), (3, 2)):
        actual, expected = (crop_patches(x, boxes(count), size, backend=b) for b in (backend, "reference"))
        assert_close(actual, expected)


@on_live_backends("stitch_patches")
@lengths
def test_stitch_patches(backend: str, count: int) -> None:
    patches = maps("patches", count, 4, 5, backend)
    (actual, covered), (expected, expected_covered) = (
        stitch_patches(patches, boxes(count), (H, W), batch_size=2, backend=b) for b in (backend, "reference")
    )
    assert_close(actual, expected)
    assert_same(covered, expected_covered)


@on_live_backends("patch_uncertainty")
@lengths
def test_patch_uncertainty(backend: str, count: int) -> None:
    x = maps("x", 2, H, W, backend)
    actual, expected = (patch_uncertainty(x, boxes(count), backend=b) for b in (backend, "reference"))
    assert_close(actual, expected)


@on_live_backends("refine_stage")
@lengths
def test_refine_stage(backend: str, count: int) -> None:
    coarse, patches = maps("coarse", 2, H, W, backend), maps("patches", count, 4, 5, backend)
    actual, expected = (
        refine_stage(coarse, patches, boxes(count), (H, W), n_points=1.0, backend=b) for b in (backend, "reference")
    )
    assert (actual - expected).abs().max() <= TOLERANCES[torch.float32][1]
    assert_same(actual.argmax(1), expected.argmax(1))
