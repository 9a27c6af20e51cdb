"""A good citizen of PyTorch: every operator under opcheck, deterministic algorithms and autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from live import DEVICES
from operator_calls import CALLS, H, W, each_device, each_pair, each_with_gradients, gradients, inputs, results
from seeded import rand
from tolerances import assert_same
from torch.library import opcheck

import magnet_kernels as mk
from magnet_kernels import _backends, available_backends


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_the_table_holds_every_operator():
    assert set(CALLS) == set(available_backends())


# opcheck of what the operators' own tests leave out


@each_device
def test_opcheck_of_the_backward_of_patch_uncertainty(device):
    grad = rand("pytorch.grad", 2).to(device)
    opcheck(torch.ops.magnet_kernels.patch_uncertainty_backward.default, (grad, inputs(device)["boxes"], 2, H, W))


@each_device
@pytest.mark.parametrize("labels", [False, True])
def test_opcheck_of_refine_stage_with_gradients(device, labels):
    m = inputs(device)
    maps = [m[part].requires_grad_(not labels) for part in ("coarse", "fine")]
    operator = torch.ops.magnet_kernels.refine_stage_labels if labels else torch.ops.magnet_kernels.refine_stage
    opcheck(operator.default, (*maps, m["boxes"], 11, 13, 30, 3, True))


@each_pair
def test_opcheck_on_each_backend(name, backend, monkeypatch):
    """With the arguments that the public function passes on."""
    calls = []
    choose = _backends._choose

    def recording(operator: str, *how: Any) -> Callable[..., Any]:
        run = choose(operator, *how)

        def call(*arguments: Any) -> Any:
            calls.append((run, arguments))
            return run(*arguments)

        return call

    if backend == "reference":
        pytest.skip("the reference is no operator by itself")
    monkeypatch.setattr(_backends, "_choose", recording)
    results(name, inputs(DEVICES[backend]), backend=backend)
    ((operator, arguments),) = calls
    assert operator._schema.name.endswith(f"::{name}")
    opcheck(operator, arguments)


# torch.use_deterministic_algorithms: empty memory is filled with NaN, True or the largest int, so that what no kernel
# writes shows; the reference makes its results without empty memory or shows it, too


@each_pair
def test_deterministic_and_every_element_written(name, backend, deterministic):
    m = inputs(DEVICES[backend])
    filled = results(name, m, backend=backend)
    torch.use_deterministic_algorithms(False)
    for actual, expected in zip(filled, results(name, m, backend=backend), strict=True):
        assert_same(actual, expected)
        assert not actual.is_floating_point() or actual.isfinite().all()
        if actual.dtype == torch.int64:
            assert actual.max() < 20 * 30


@each_device
@each_with_gradients
def test_deterministic_gradients(name, device, deterministic):
    first, second = gradients(name, device), gradients(name, device)
    for a, b in zip(first, second, strict=True):
        assert_same(a, b)
        assert a.isfinite().all()


# torch.autocast: probabilities stay fp32, logits may be half, types are not mixed behind the caller's back


@each_pair
def test_autocast_changes_nothing(name, backend):
    device = DEVICES[backend]
    for dtype in (torch.float32, torch.bfloat16):
        m = inputs(device, dtype)
        expected = results(name, m, backend=backend)
        with torch.autocast(device, torch.bfloat16):
            actual = results(name, m, backend=backend)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e)
        if name not in ("select_points", "refine_stage_labels", "confidence", "uncertainty_score", "patch_uncertainty"):
            assert actual[0].dtype == dtype


@each_device
def test_autocast_of_a_network_and_its_step(device):
    """As in a training loop: half logits from a convolution, the step on them, and gradients in fp32 at the weights."""
    m = inputs(device)
    head = torch.nn.Conv2d(5, 5, 1, device=device)
    with torch.autocast(device, torch.bfloat16):
        logits = head(m["coarse"])
        assert logits.dtype == torch.bfloat16
        refined = mk.refine_step(logits, head(m["fine"]), n_points=30, from_logits=True)
        assert refined.dtype == torch.bfloat16
        assert mk.refine_step(logits, m["fine"], n_points=30).dtype == torch.float32  # the wider of the two
    with pytest.raises(TypeError, match=r"^fine: expected the type of coarse, torch\.bfloat16, got a torch\.float32"):
        mk.refine_step(logits, m["fine"], n_points=30)
    refined.float().square().mean().backward()
    assert head.weight.grad.dtype == torch.float32 and head.weight.grad.abs().max() > 0
