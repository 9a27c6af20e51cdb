"""Odd tensors: one clear error, the same on every backend, before any kernel runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from live import DEVICES, live
from operator_calls import CALLS, WRITES, each_operator, each_pair, inputs, results
from tolerances import assert_same
from torch import Tensor

import magnet_kernels as mk


class Tagged(Tensor):
    """A subclass that adds nothing."""


@each_pair
def test_parameters_and_plain_subclasses_are_tensors(name, backend):
    m = inputs(DEVICES[backend])
    expected = results(name, m, backend=backend)
    with torch.no_grad():
        parameters = {**m, **{part: torch.nn.Parameter(m[part]) for part in ("coarse", "fine")}}
        for a, e in zip(results(name, parameters, backend=backend), expected, strict=True):
            assert_same(a, e)
    tagged = {key: x.as_subclass(Tagged) for key, x in m.items()}
    for a, e in zip(results(name, tagged, backend=backend), expected, strict=True):
        assert_same(a.as_subclass(Tensor), e)


DENSE = r"expected a dense tensor, got "
ODD: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "sparse": (lambda x: x.to_sparse(), DENSE + r"one of torch\.sparse_coo; convert it with .*\.to_dense\(\)"),
    "hybrid": (lambda x: x.to_sparse(2), DENSE + r"one of torch\.sparse_coo"),
    "nested": (lambda x: torch.nested.nested_tensor(list(x)), DENSE + "a nested one; pad it"),
    "jagged": (lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged), DENSE + "a nested one; pad it"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8),
        r"expected .*got a torch\.quint8",
    ),
    "complex": (lambda x: x.to(torch.complex64), r"expected .*got a torch\.complex64"),
    "integers": (lambda x: x.to(torch.int32), r"expected .*got a torch\.int32"),
    "float8": (lambda x: x.float().to(torch.float8_e4m3fn), r"expected .*got a torch\.float8_e4m3fn"),
    "numpy": (lambda x: x.numpy(), r"expected .*got .*ndarray of shape"),
}
ARGUMENTS = {
    "coarse": [name for name in CALLS if name not in WRITES],
    "fine": ["refine_step", "refine_step_out", "uncertainty_score", "replace_points_", "refine_stage"],
    "boxes": ["crop_patches", "stitch_patches", "patch_uncertainty", "refine_stage"],
    "points": ["replace_points", "replace_points_"],
    "mask": ["refine_step", "uncertainty_score", "select_points"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("argument", "name"), [(a, name) for a, names in ARGUMENTS.items() for name in names])
def test_odd_tensors_are_refused_alike(argument, name, odd):
    change, message = ODD[odd]
    m = inputs()
    if name == "select_points" and argument == "coarse":
        run = lambda backend: mk.select_points(change(m["coarse"][:, :1].contiguous()), 3, backend=backend)  # noqa: E731
    elif argument == "coarse":
        # straight from the table, but where the table slices or clones
        run = lambda backend: results(name, {**m, "coarse": change(m["coarse"])}, backend=backend)  # noqa: E731
    else:
        run = lambda backend: results(name, {**m, argument: change(m[argument])}, backend=backend)  # noqa: E731
    messages = set()
    for backend in ("auto", *(b for b in live(name) if DEVICES[b] == "cpu")):
        with pytest.raises(TypeError, match=rf"^\w+: {message}") as caught:
            run(backend)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert next(iter(messages)).split(":")[0] in (argument, "x", "score", "patches")


@pytest.mark.parametrize("odd", ["sparse", "nested", "jagged", "complex"])
def test_odd_memory_for_the_result_is_refused(odd):
    m = inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = ODD[odd][0](torch.zeros_like(m["fine"]))
    with pytest.raises((TypeError, ValueError), match=r"^out: expected "):
        mk.refine_step(m["coarse"], m["fine"], n_points=3, out=out)


@pytest.mark.parametrize(
    ("argument", "name"), [(a, n) for a, names in ARGUMENTS.items() for n in names if a != "coarse"]
)
def test_another_device_is_refused_alike(argument, name):
    m = inputs()
    messages = set()
    for backend in ("auto", *(b for b in live(name) if DEVICES[b] == "cpu")):
        with pytest.raises(
            ValueError, match=r"^(fine|patches|boxes|points|mask): expected .*device.* on meta; move it"
        ) as e:
            results(name, {**m, argument: m[argument].to("meta")}, backend=backend)
        messages.add(str(e.value))
    assert len(messages) == 1


@each_operator
def test_meta_tensors_give_shapes_and_layouts(name):
    m = inputs()
    for layout in (torch.contiguous_format, torch.channels_last):
        for part in ("coarse", "fine"):
            m[part] = m[part].contiguous(memory_format=layout)
        shapes = results(name, {key: x.to("meta") for key, x in m.items()})
        for a, e in zip(shapes, results(name, m), strict=True):
            assert a.is_meta and (a.shape, a.dtype, a.stride()) == (e.shape, e.dtype, e.stride())
