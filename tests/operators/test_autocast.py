"""Maps of two types: under torch.autocast both are taken in the wider one, as torch itself does; else an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from live import on_live_devices
from seeded import probs
from tolerances import assert_same
from torch import Tensor

import magnet_kernels as mk
from magnet_kernels import _checks

each_device = on_live_devices("refine_step")
BOXES = torch.tensor([[0.0, 1, 2, 8, 7], [1, 0, 0, 13, 9]])
POINTS = torch.tensor([[0, 5, 80, 125], [3, 4, 5, -1]])
OPERATORS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "uncertainty_score": lambda c, f: mk.uncertainty_score(c, f),
    "refine_step": lambda c, f: mk.refine_step(c, f, n_points=30, return_points=True),
    "refine_step, smaller": lambda c, f: mk.refine_step(c[..., ::2, ::2], f, n_points=30, return_points=True),
    "replace_points": lambda c, f: mk.replace_points(c, f, POINTS.to(c.device)),
    "refine_stage": lambda c, f: mk.refine_stage(c, f, BOXES, (18, 20), n_points=30, return_points=True),
}
TYPES = [  # of coarse, of fine, and the wider one
    (torch.float32, torch.bfloat16, torch.float32),
    (torch.bfloat16, torch.float32, torch.float32),
    (torch.float16, torch.float32, torch.float32),
    (torch.float16, torch.bfloat16, torch.float32),
    (torch.bfloat16, torch.bfloat16, torch.bfloat16),
]


def pair(device: str, first: torch.dtype, second: torch.dtype) -> tuple[Tensor, Tensor]:
    coarse, fine = (probs(f"autocast.{name}", 2, 5, 9, 14).to(device) for name in ("coarse", "fine"))
    return coarse.to(first), fine.to(second)


def parts(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


@each_device
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("first", "second", "wide"), TYPES)
def test_the_wider_type(device, name, first, second, wide):
    coarse, fine = pair(device, first, second)
    expected = parts(OPERATORS[name](coarse.to(wide), fine.to(wide)))
    with torch.autocast(device, torch.bfloat16):
        result = parts(OPERATORS[name](coarse, fine))
        compiled = torch.compile(OPERATORS[name], fullgraph=True, backend="aot_eager")(coarse, fine)
    for x, y, z in zip(result, expected, parts(compiled), strict=True):
        assert_same(x, y)
        assert_same(z, y)


@each_device
@pytest.mark.parametrize("name", OPERATORS)
def test_without_autocast_an_error(device, name):
    coarse, fine = pair(device, torch.float32, torch.bfloat16)
    with pytest.raises(TypeError, match=r"^(fine|patches): expected the type of coarse, torch\.float32, got"):
        OPERATORS[name](coarse, fine)
    with torch.autocast(device, enabled=False), pytest.raises(TypeError, match=r": expected the type of coarse"):
        OPERATORS[name](coarse, fine)


@each_device
def test_gradients_arrive_in_the_type_of_each_map(device):
    coarse, fine = (x.requires_grad_() for x in pair(device, torch.float32, torch.bfloat16))
    with torch.autocast(device, torch.bfloat16):
        refined, points = mk.refine_step(coarse, fine, n_points=30, return_points=True)
    refined.sum().backward()
    assert coarse.grad.dtype == torch.float32 and fine.grad.dtype == torch.bfloat16
    chosen = torch.zeros(2, 1, 9 * 14, device=device).scatter_(2, points[:, None], 1.0).view(2, 1, 9, 14)
    assert_same(fine.grad, chosen.expand_as(fine).to(fine.dtype))
    assert_same(coarse.grad, 1 - chosen.expand_as(coarse))


@each_device
def test_what_is_written_to_keeps_its_type(device):
    coarse, fine = pair(device, torch.float32, torch.bfloat16)
    expected = mk.refine_step(coarse, fine.float(), n_points=30)
    replaced = mk.replace_points(coarse, fine.float(), POINTS.to(device))
    with torch.autocast(device, torch.bfloat16):
        assert_same(mk.refine_step_(coarse.clone(), fine, n_points=30), expected)
        assert_same(mk.refine_step(coarse, fine, n_points=30, out=torch.empty_like(coarse)), expected)
        assert_same(mk.replace_points_(coarse.clone(), fine, POINTS.to(device)), replaced)
        for run in (mk.refine_step_, lambda c, f, n_points: mk.replace_points_(c, f, POINTS.to(device))):
            with pytest.raises(TypeError, match=r"^fine: expected the type of coarse, torch\.bfloat16, got"):
                run(coarse.bfloat16(), fine.float(), n_points=30)
        with pytest.raises(ValueError, match=r"^out: expected a torch\.float32 tensor"):
            mk.refine_step(coarse.bfloat16(), fine.float(), n_points=30, out=torch.empty_like(coarse.bfloat16()))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_torch_cannot_trace_is_asked_beforehand(monkeypatch, device):
    """torch.amp.is_autocast_available: Dynamo of torch 2.11 does not know it; and "meta" has no autocast to ask for."""
    coarse, fine = pair(device, torch.float32, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        monkeypatch.setattr(torch._C, "_is_autocast_available", None)
        run = torch.compile(lambda c, f: _checks.promoted(c, f), fullgraph=True, backend="eager")
        for first, second in (run(coarse, fine), _checks.promoted(coarse, fine)):
            assert first.dtype == torch.float32
            assert second.dtype == (torch.float32 if device == "cpu" else torch.bfloat16)
        monkeypatch.undo()
