"""A good citizen of PyTorch: every operator under autocast, torch.func, export, determinism; odd tensors are refused.

One table of operators serves all tests. test_compile.py has the operators under torch.compile.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from live import DEVICES, live, on_live_backends, on_live_devices
from seeded import probs, rand
from tolerances import assert_close, assert_same
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.autograd import forward_ad
from torch.library import opcheck

import magnet
import magnet_kernels as mk
from magnet_kernels import _backends, _library, available_backends

H, W = 9, 12
Maps = dict[str, Tensor]


def inputs(device: str = "cpu", dtype: torch.dtype = torch.float32, name: str = "pytorch") -> Maps:
    coarse, fine = (probs(f"{name}.{part}", 2, 5, H, W).to(device, dtype) for part in ("coarse", "fine"))
    boxes = torch.tensor([[0, 1.0, 2.0, 8.0, 7.0], [1, 0.0, 0.0, 12.0, 9.0]], device=device)
    points = torch.tensor([[0, 5, 60], [3, 107, -1]], device=device)
    mask = (rand(f"{name}.mask", 2, 1, H, W) > 0.3).to(device)
    return {"coarse": coarse, "fine": fine, "boxes": boxes, "points": points, "mask": mask}


def _out(m: Maps, **options: Any) -> Any:
    coarse = m["coarse"][..., ::2, ::2]
    out = torch.empty(2, 5, H, W, dtype=coarse.dtype, device=coarse.device)
    return mk.refine_step(coarse, m["fine"], n_points=30, mask=m["mask"], out=out, return_points=True, **options)


# the registered operator, and a call of its public function
CALLS: dict[str, Callable[..., Any]] = {
    "confidence": lambda m, **o: mk.confidence(m["coarse"], **o),
    "median_blur": lambda m, **o: mk.median_blur(m["coarse"], 5, **o),
    "uncertainty_score": lambda m, **o: mk.uncertainty_score(m["coarse"], m["fine"], mask=m["mask"], **o),
    "select_points": lambda m, **o: mk.select_points(m["coarse"][:, :1], 0.3, mask=m["mask"], **o),
    "replace_points": lambda m, **o: mk.replace_points(m["coarse"], m["fine"], m["points"], **o),
    "replace_points_": lambda m, **o: mk.replace_points_(m["coarse"].clone(), m["fine"], m["points"], **o),
    "refine_step": lambda m, **o: mk.refine_step(
        m["coarse"], m["fine"], n_points=30, mask=m["mask"], return_points=True, **o
    ),
    "refine_step_": lambda m, **o: mk.refine_step_(m["coarse"].clone(), m["fine"], n_points=0.9, mask=m["mask"], **o),
    "refine_step_out": _out,
    "refine_stage": lambda m, **o: mk.refine_stage(
        m["coarse"], m["fine"], m["boxes"], (11, 13), n_points=30, return_points=True, **o
    ),
    "refine_stage_labels": lambda m, **o: mk.refine_stage(
        m["coarse"], m["fine"], m["boxes"], (11, 13), n_points=30, return_points=True, labels_only=True, **o
    ),
    "upsample_confidence": lambda m, **o: mk.upsample_confidence(m["coarse"], (20, 30), **o),
    "crop_patches": lambda m, **o: mk.crop_patches(m["coarse"], m["boxes"], (4, 6), **o),
    "stitch_patches": lambda m, **o: mk.stitch_patches(m["coarse"], m["boxes"], (12, 16), batch_size=2, **o),
    "patch_uncertainty": lambda m, **o: mk.patch_uncertainty(m["coarse"], m["boxes"], **o),
}
WITH_GRADIENTS = [name for name in CALLS if _library._DEFINITIONS[name].backward is not None]
WRITES = [name for name in CALLS if name.endswith(("_", "_out"))]
each_device = on_live_devices("refine_step")
each_operator = pytest.mark.parametrize("name", CALLS)
each_with_gradients = pytest.mark.parametrize("name", WITH_GRADIENTS)


def results(name: str, maps: Maps, **options: Any) -> list[Tensor]:
    result = CALLS[name](maps, **options)
    return list(result) if isinstance(result, tuple) else [result]


def each_live_backend_of_each_operator() -> pytest.MarkDecorator:
    marks = [mark for name in CALLS for mark in [on_live_backends(name).mark]]
    pairs = []
    for name, mark in zip(CALLS, marks, strict=True):
        pairs += [pytest.param(name, p.values[0], marks=p.marks, id=f"{name}-{p.values[0]}") for p in mark.args[1]]
    return pytest.mark.parametrize(("name", "backend"), pairs)


each_pair = each_live_backend_of_each_operator()


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


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


def gradients(name: str, device: str) -> list[Tensor]:
    """Of coarse and fine, by backward()."""
    m = inputs(device)
    maps = [m[part].requires_grad_() for part in ("coarse", "fine")]
    loss(name, m).backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in maps]


def loss(name: str, maps: Maps) -> Tensor:
    result = results(name, maps)[0]
    weights = torch.linspace(0, 1, result.numel(), device=result.device).view(result.shape)
    return (result * result * weights).sum()


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


# torch.func


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


# torch.compile: what test_compile.py does not look at


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


def tiny_model(**options: Any) -> magnet.MagNet:
    torch.manual_seed(3)
    defaults: dict[str, Any] = {"scales": [(16, 32), (24, 48), (32, 64)], "patch_size": (16, 32), "n_points": 200}
    if options.pop("compact", False):
        segmenter, refiner = magnet.build_segmenter("compact", 4), magnet.RefinementModule(4)
    else:  # a graph that is soon made
        segmenter, refiner = torch.nn.Conv2d(3, 4, 3, padding=1), Blend()
    networks = (segmenter, options.pop("refiner", refiner))
    return magnet.MagNet(*networks, **{**defaults, **options}).eval()


class Blend(torch.nn.Module):
    """A refiner of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(8, 4, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.layer(torch.cat([fine, coarse], 1))


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
    model, counter = tiny_model(**options), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for _ in range(2):
        assert_same_walk(compiled(images(2)), model(images(2)))
    assert counter.frame_count == 1


@pytest.mark.slow
@each_model
def test_export_of_a_model_of_any_batch(options):
    model, batch = tiny_model(**options), torch.export.Dim("batch", min=1, max=16)
    fixed = torch.export.export(model, (images(1),)).module()
    program = torch.export.export(model, (images(2),), dynamic_shapes=({0: batch},)).module()
    with torch.inference_mode():
        assert_same_walk(fixed(images(1)), model(images(1)))
        for n in (1, 2, 5):
            assert_same_walk(program(images(n)), model(images(n)))


def test_what_cannot_be_exported_says_so():
    with pytest.raises(RuntimeError, match=r"^MagNet: expected evaluation mode"):
        torch.export.export(tiny_model().train(), (images(1),))
    with pytest.raises(ValueError, match=r"^n_points: expected an int \(a count\) to trace"):
        torch.export.export(tiny_model(n_patches=2, n_points=0.5), (images(1),))


# Odd tensors: one clear error, the same on every backend, before any kernel runs


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
