"""Graphs of refine_step and of whole models: torch.export, and torch.compile beyond test_compile.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_calls import each_device, inputs
from seeded import probs, rand
from tiny_model import one_layer_model
from tolerances import assert_same
from torch import Tensor
from torch._dynamo.testing import CompileCounter

import magnet_kernels as mk


@each_device
def test_no_recompilation_where_k_changes(device):
    torch.compiler.reset()
    m, counter = inputs(device), CompileCounter()

    def run(coarse: Tensor, fine: Tensor, n_points: int) -> Any:
        return mk.refine_step(coarse, fine, n_points=n_points, return_points=True)

    compiled = torch.compile(run, fullgraph=True, backend=counter)
    for n_points in (30, 12):
        compiled(m["coarse"], m["fine"], n_points)
    assert counter.frame_count == 2, "one graph for the first K, one for any K"
    for n_points in (7, 31, 55, 107, 108):
        for a, e in zip(compiled(m["coarse"], m["fine"], n_points), run(m["coarse"], m["fine"], n_points), strict=True):
            assert_same(a, e)
    assert counter.frame_count == 2


def test_no_recompilation_at_all_where_k_is_dynamic():
    torch.compiler.reset()
    m, counter = inputs(), CompileCounter()
    run = torch.compile(
        lambda c, f, n: mk.refine_step_(c, f, n_points=n), fullgraph=True, dynamic=True, backend=counter
    )
    for n_points in (30, 12, 55):
        expected = mk.refine_step(m["coarse"], m["fine"], n_points=n_points)
        assert_same(run(m["coarse"].clone(), m["fine"], n_points), expected)
    assert counter.frame_count == 1


# torch.export


class Step(torch.nn.Module):
    def __init__(self, n_points: int | float = 0.25) -> None:
        super().__init__()
        self.n_points = n_points

    def forward(self, coarse: Tensor, fine: Tensor) -> Any:
        return mk.refine_step(coarse, fine, n_points=self.n_points, return_points=True)


@each_device
@pytest.mark.parametrize("strict", [False, True])
def test_export_of_refine_step(device, strict):
    m = inputs(device)
    program = torch.export.export(Step(), (m["coarse"], m["fine"]), strict=strict)
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert torch.ops.magnet_kernels.refine_step.default in calls
    other = inputs(device, name="pytorch.other")
    for a, e in zip(
        program.module()(other["coarse"], other["fine"]), Step()(other["coarse"], other["fine"]), strict=True
    ):
        assert_same(a, e)


@each_device
@pytest.mark.parametrize("n_points", [0.25, 30])
def test_export_of_refine_step_of_any_size(device, n_points, tmp_path):
    step = Step(n_points)
    batch, height, width = (torch.export.Dim(name, min=1, max=64) for name in ("batch", "height", "width"))
    m, shapes = inputs(device), {0: batch, 2: height, 3: width}
    program = torch.export.export(step, (m["coarse"], m["fine"]), dynamic_shapes=(shapes, shapes))
    torch.export.save(program, tmp_path / "step.pt2")
    run = torch.export.load(tmp_path / "step.pt2").module()
    for n, h, w in ((1, 3, 5), (4, 16, 9)):
        coarse, fine = (probs(f"pytorch.export.{part}", n, 5, h, w).to(device) for part in ("coarse", "fine"))
        for a, e in zip(run(coarse, fine), step(coarse, fine), strict=True):
            assert_same(a, e)


MODELS: dict[str, dict[str, Any]] = {
    "compact": {"compact": True, "scales": [(16, 32), (32, 64)], "n_points": 0.3},
    "magnet": {"n_points": 0.3, "batch_size": 3},
    "magnet-fast": {"n_patches": [1, 2], "batch_size": 1},
    "other input size": {"input_size": (12, 24), "batch_size": 3},
    "no refiner": {"refiner": None, "n_patches": 3},
    "no patches": {"n_patches": 0},
    "one scale": {"scales": [(16, 32)]},
}
each_model = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


def images(n: int) -> Tensor:
    return rand("pytorch.images", n, 3, 30, 60) * 4 - 2


def assert_same_walk(actual: Tensor, expected: Tensor) -> None:
    """Convolutions of other batch sizes round in other ways, which may move a point that is all but tied."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    differ = (actual - expected).abs().amax(1) > 1e-5
    assert differ.float().mean() < 0.005, f"{int(differ.sum())} of {differ.numel()} pixels differ"


@each_model
def test_a_whole_model_is_one_graph(options):
    torch.compiler.reset()
    model, counter = one_layer_model(**options), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for _ in range(2):
        assert_same_walk(compiled(images(2)), model(images(2)))
    assert counter.frame_count == 1


@pytest.mark.slow
@each_model
def test_export_of_a_model_of_any_batch(options):
    model, batch = one_layer_model(**options), torch.export.Dim("batch", min=1, max=16)
    fixed = torch.export.export(model, (images(1),)).module()
    program = torch.export.export(model, (images(2),), dynamic_shapes=({0: batch},)).module()
    with torch.inference_mode():
        assert_same_walk(fixed(images(1)), model(images(1)))
        for n in (1, 2, 5):
            assert_same_walk(program(images(n)), model(images(n)))


def test_what_cannot_be_exported_says_so():
    with pytest.raises(RuntimeError, match=r"^MagNet: expected evaluation mode"):
        torch.export.export(one_layer_model().train(), (images(1),))
    with pytest.raises(ValueError, match=r"^n_points: expected an int \(a count\) to trace"):
        torch.export.export(one_layer_model(n_patches=2, n_points=0.5), (images(1),))
