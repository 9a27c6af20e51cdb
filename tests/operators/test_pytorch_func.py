"""Every operator under torch.func: vmap, grad, and one clear error for what is not there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from operator_calls import CALLS, WRITES, Maps, each_device, each_with_gradients, gradients, inputs, loss, results
from tolerances import assert_close, assert_same
from torch.autograd import forward_ad


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def stacked(device: str) -> list[Maps]:
    return [inputs(device, name=f"pytorch.{i}") for i in range(3)]


@each_device
@pytest.mark.parametrize("name", [name for name in CALLS if name not in WRITES])
def test_vmap_is_the_same_as_a_loop(name, device, no_warnings):
    samples = stacked(device)
    for b, sample in enumerate(samples):  # other images in other samples
        sample["boxes"] = sample["boxes"].roll(b, 0)
    batch = {key: torch.stack([sample[key] for sample in samples], dim=1) for key in samples[0]}
    actual = torch.func.vmap(lambda m: tuple(results(name, m)), in_dims=1)(batch)
    for i, sample in enumerate(samples):
        for a, e in zip(actual, results(name, sample), strict=True):
            assert_same(a[i], e)


@each_device
@pytest.mark.parametrize("name", [name for name in CALLS if name not in WRITES])
def test_vmap_over_one_map_alone(name, device, no_warnings):
    samples, rest = stacked(device), inputs(device)
    batch = torch.stack([sample["coarse"] for sample in samples])
    actual = torch.func.vmap(lambda coarse: tuple(results(name, {**rest, "coarse": coarse})))(batch)
    for i, sample in enumerate(samples):
        for a, e in zip(actual, results(name, {**rest, "coarse": sample["coarse"]}), strict=True):
            assert_same(a[i], e)


@each_device
@each_with_gradients
def test_grad_is_the_same_as_backward(name, device, no_warnings):
    m = inputs(device)
    actual = torch.func.grad(lambda c, f: loss(name, {**m, "coarse": c, "fine": f}), (0, 1))(m["coarse"], m["fine"])
    for a, e in zip(actual, gradients(name, device), strict=True):
        assert_same(a, e)


@each_device
@pytest.mark.parametrize("name", ["confidence", "replace_points", "refine_step", "upsample_confidence", "crop_patches"])
def test_gradients_of_each_sample(name, device):
    samples, rest = stacked(device), inputs(device)
    grad = torch.func.grad(lambda coarse: loss(name, {**rest, "coarse": coarse}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own loop over the operators of the backward
        actual = torch.func.vmap(grad)(torch.stack([sample["coarse"] for sample in samples]))
    for a, sample in zip(actual, samples, strict=True):
        assert_close(a, grad(sample["coarse"]))


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_writing_under_a_transform_is_one_clear_error(name, transform):
    m = inputs()
    run = lambda coarse: results(name, {**m, "coarse": coarse})[0].sum()  # noqa: E731
    run = torch.func.vmap(run) if transform == "vmap" else torch.func.grad(run)
    operator = name.removesuffix("_out")
    with pytest.raises(
        RuntimeError, match=rf"^{operator}.*: expected no transform of torch\.func.*; use {operator.strip('_')}"
    ):
        run(torch.stack([m["coarse"]] * 2) if transform == "vmap" else m["coarse"])


@each_with_gradients
def test_forward_mode_is_one_clear_error(name):
    """Never silently zero."""
    m = inputs()
    message = rf"^{name}: forward-mode differentiation is not there; use backward\(\)"
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jvp(lambda c: results(name, {**m, "coarse": c})[0], (m["coarse"],), (m["fine"],))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=message):
        results(name, {**m, "coarse": forward_ad.make_dual(m["coarse"], m["fine"])})


def test_the_reference_alone_does_not_run_under_vmap():
    m = inputs()
    with pytest.raises(RuntimeError, match=r"^refine_step: the reference was asked for but does not run under vmap"):
        torch.func.vmap(lambda c: results("refine_step", {**m, "coarse": c}, backend="reference")[0])(m["coarse"][None])
