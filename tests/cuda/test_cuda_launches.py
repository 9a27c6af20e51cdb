"""How many kernels an operator launches, counted by the emulator."""

from __future__ import annotations

import pytest
import torch
from live import on_emulated_backends
from seeded import probs

from magnet_kernels import refine_stage, refine_step, refine_step_

pytestmark = pytest.mark.ptx
each_backend = on_emulated_backends("cuda_sm_90")


def launches(call) -> int:
    from ptx import emulator

    before = emulator.statistics()["launches"]
    call()
    return emulator.statistics()["launches"] - before


@each_backend
@pytest.mark.parametrize("size", [(1, 5, 9, 13), (1, 5, 211, 307), (3, 5, 60, 70)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.parametrize("from_logits", [False, True])
def test_refine_step_takes_at_most_four(backend, size, kernel_size, from_logits):
    coarse, fine = (probs(f"launches.{part}", *size) for part in ("coarse", "fine"))
    mask = fine[:, :1] < 0.3
    options = {"kernel_size": kernel_size, "from_logits": from_logits, "backend": backend}
    assert 0 < launches(lambda: refine_step_(coarse.clone(), fine, n_points=0.1, **options)) <= 4
    assert launches(lambda: refine_step(coarse, fine, n_points=100, mask=mask, **options)) <= 4
    half = coarse[..., : (size[2] + 1) // 2, : (size[3] + 1) // 2]
    assert launches(lambda: refine_step(half, fine, n_points=0.9, **options)) <= 4


@each_backend
def test_many_images_take_one_more(backend):
    """Their digits are counted one by one."""
    coarse, fine = (probs(f"launches.{part}", 4, 2, 129, 131) for part in ("coarse", "fine"))
    few = launches(lambda: refine_step_(coarse[:3].clone(), fine[:3], n_points=0.1, backend=backend))
    assert launches(lambda: refine_step_(coarse.clone(), fine, n_points=0.1, backend=backend)) == few + 1 == 5


@each_backend
@pytest.mark.parametrize("labels_only", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
def test_refine_stage_takes_at_most_six(backend, labels_only, from_logits):
    coarse, patches = probs("launches.map", 1, 5, 110, 160), probs("launches.patches", 2, 5, 110, 160)
    boxes = torch.tensor([[0, 0, 0, 160, 110.0], [0, 160, 110, 320, 220]])
    options = {"n_points": 3000, "labels_only": labels_only, "from_logits": from_logits, "backend": backend}
    assert 0 < launches(lambda: refine_stage(coarse, patches, boxes, (220, 320), **options)) <= 6
