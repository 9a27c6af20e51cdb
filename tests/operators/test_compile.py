"""torch.compile(fullgraph=True) gives the same results: with gradients, in place, changing shapes, in real code."""

from __future__ import annotations

import warnings

import pytest
import torch
from live import on_live_devices
from seeded import probs
from tolerances import assert_close, assert_same

import magnet_kernels as mk

each_device = on_live_devices("refine_step")


def pair(device: str, height: int = 9, width: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(probs(f"compile.{name}", 2, 5, height, width).to(device) for name in ("coarse", "fine"))


BOXES = torch.tensor([[0, 1.0, 2.0, 8.0, 7.0], [1, 0.0, 0.0, 13.0, 9.0]])
FUNCTIONS = {
    "confidence": lambda c, f: mk.confidence(c, from_logits=True),
    "median_blur": lambda c, f: mk.median_blur(c, 5),
    "uncertainty_score": lambda c, f: mk.uncertainty_score(c, f, mask=f[:, :1] > 0.05),
    "select_points": lambda c, f: mk.select_points(c[:, :1], 0.3),
    "replace_points": lambda c, f: mk.replace_points(c, f, mk.select_points(c[:, :1], 20)),
    "refine_step": lambda c, f: mk.refine_step(c, f, n_points=30, return_points=True),
    "refine_step_half_size": lambda c, f: mk.refine_step(c[:, :, ::2, ::2], f, n_points=30, from_logits=True),
    "refine_step_mask": lambda c, f: mk.refine_step(c, f, n_points=30, mask=f[0, 0] > 0.05, return_points=True),
    "upsample_confidence": lambda c, f: mk.upsample_confidence(c, (20, 30)),
    "crop_patches": lambda c, f: mk.crop_patches(c, BOXES.to(c.device), (4, 6)),
    "stitch_patches": lambda c, f: mk.stitch_patches(c, BOXES.to(c.device), (12, 16), batch_size=2),
    "patch_uncertainty": lambda c, f: mk.patch_uncertainty(c, BOXES.to(c.device)),
}


def same(actual: object, expected: object) -> None:
    actual, expected = ((x,) if isinstance(x, torch.Tensor) else x for x in (actual, expected))
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert_same(a, e)
        assert a.stride() == e.stride()


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


@each_device
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_graph_same_result(device, name):
    function = FUNCTIONS[name]
    coarse, fine = pair(device)
    same(torch.compile(function, fullgraph=True, backend="aot_eager")(coarse, fine), function(coarse, fine))


@each_device
@pytest.mark.parametrize("name", ["confidence", "replace_points", "refine_step", "refine_step_half_size"])
def test_gradients(device, name):
    results = []
    for compiled in (False, True):
        function = FUNCTIONS[name]
        if compiled:
            function = torch.compile(function, fullgraph=True, backend="aot_eager")
        coarse, fine = (x.requires_grad_() for x in pair(device))
        result = function(coarse, fine)
        result = result[0] if isinstance(result, tuple) else result
        (result * torch.linspace(0, 1, result.numel(), device=device).view(result.shape)).sum().backward()
        results.append([x.grad for x in (coarse, fine) if x.grad is not None])
    assert len(results[0]) == len(results[1]) > 0
    for eager, compiled in zip(*results, strict=True):
        assert_close(compiled, eager)


@each_device
def test_in_place_and_out(device):
    def run(coarse, fine, other, out):
        mk.refine_step_(coarse, fine, n_points=30)
        points = mk.select_points(mk.uncertainty_score(other, fine), 11)
        mk.replace_points_(other, fine, points)
        mk.refine_step(coarse, fine, n_points=12, out=out)
        return points

    coarse, fine = pair(device)
    expected = [coarse.clone(), fine.clone(), coarse.flip(3).contiguous(), torch.zeros_like(fine)]
    actual = [x.clone() for x in expected]
    points = run(*expected)
    assert_same(torch.compile(run, fullgraph=True, backend="aot_eager")(*actual), points)
    for a, e in zip(actual, expected, strict=True):
        assert_same(a, e)


@each_device
def test_in_place_with_changing_shapes(device):
    """Whether memory overlaps itself is asked of symbols."""
    compiled = torch.compile(
        lambda c, f: mk.refine_step_(c, f, n_points=9), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for height, width in ((9, 14), (7, 5), (20, 31)):
        coarse, fine = pair(device, height, width)
        expected = mk.refine_step(coarse, fine, n_points=9)
        for layout in (torch.contiguous_format, torch.channels_last):
            assert_same(compiled(coarse.clone(memory_format=layout), fine), expected)


@each_device
def test_changing_shapes(device):
    def run(coarse, fine):
        return mk.refine_step(coarse, fine, n_points=0.25, return_points=True)

    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, width in ((9, 14), (12, 7), (23, 31)):
        coarse, fine = pair(device, height, width)
        same(compiled(coarse, fine), run(coarse, fine))


@each_device
def test_inductor_with_code_around(device):
    """As a user has it: softmax before, argmax after, compiled to machine code."""

    def run(coarse, fine):
        refined = mk.refine_step((coarse * 5).softmax(1), (fine * 5).softmax(1), n_points=30)
        return mk.refine_step(refined, coarse, n_points=12).argmax(1)

    coarse, fine = pair(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(run, fullgraph=True)
        try:
            labels = compiled(coarse, fine)
        except torch._inductor.exc.InductorError as error:
            if "compiler" in str(error).lower():
                pytest.skip(f"torch.compile has no C++ compiler here: {error}")
            raise
    assert (labels == run(coarse, fine)).float().mean() > 0.99, "rounding of the softmax may move a tie"
