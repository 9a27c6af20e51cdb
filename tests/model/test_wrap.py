"""magnet.wrap: what other libraries' networks return, against results worked out by hand."""

from __future__ import annotations

import collections
import copy
import dataclasses
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import randn, seed_module
from torch import Tensor, nn

import magnet
from magnet.images.tensors import IMAGENET_MEAN, IMAGENET_STD, normalize
from magnet.networks.wrap import mask_log_probabilities


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # fastest for tensors this small


@dataclasses.dataclass
class Returned:
    """An object as transformers returns it, without being a mapping."""

    logits: Tensor
    loss: Tensor | None = None


@dataclasses.dataclass
class Outs:
    out: Tensor
    aux: Tensor


class Queries(collections.OrderedDict):
    """Mask classification as a mapping whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(value for value in self.values() if value is not None)


class Net(nn.Module):
    """A convolution with stride, and what it makes of the image handed over in the form asked for."""

    def __init__(self, form: str = "tensor", stride: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(3, classes, 3, stride=stride, padding=1)
        seed_module(self, "wrap.")

    def forward(self, images: Tensor) -> Any:
        logits = 4 * self.conv(images)
        mean = logits.mean()
        match self.form:
            case "tensor":
                return logits
            case "dict":
                return {"aux": -logits, "out": logits}
            case "dict of logits":
                return {"loss": mean, "logits": logits}
            case "object":
                return Returned(logits)
            case "object of out":
                return Outs(logits, -logits)
            case "tuple":
                return mean, None, logits.mean(dim=(2, 3)), logits, -logits
            case "list of dicts":
                return [{"loss": mean}, {"out": logits}]
        raise AssertionError(self.form)


FORMS = ["tensor", "dict", "dict of logits", "object", "object of out", "tuple", "list of dicts"]


class QueryNet(nn.Module):
    """Mask classification with Q queries for C classes, at a quarter of the size."""

    def __init__(self, classes: int = 3, queries: int = 7) -> None:
        super().__init__()
        self.masks = nn.Conv2d(3, queries, 5, stride=4, padding=2)
        self.classes = nn.Linear(3, queries * (classes + 1))
        self.queries = queries
        seed_module(self, "queries.")

    def forward(self, images: Tensor) -> Queries:
        scores = self.classes(images.mean(dim=(2, 3))).view(images.shape[0], self.queries, -1)
        return Queries(loss=None, class_queries_logits=2 * scores, masks_queries_logits=3 * self.masks(images))


def images_of(height: int, width: int, n: int = 2) -> Tensor:
    return randn("wrap.images", n, 3, height, width)


def plain_probabilities(classes: Tensor, masks: Tensor) -> Tensor:
    """The definition, in float64: a sum over the queries, normalised at each pixel."""
    scores = torch.einsum("nqc,nqhw->nchw", classes.double().softmax(-1)[..., :-1], masks.double().sigmoid())
    return scores / scores.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_told_apart(form: str) -> None:
    net, images = Net(form), images_of(9, 12)
    logits = magnet.wrap(net)(images)
    assert torch.equal(logits, 4 * net.conv(images))


@pytest.mark.parametrize(
    "form, output, sign",
    [
        ("dict", "aux", -1),
        ("object of out", "aux", -1),
        ("object", "logits", 1),
        ("tuple", 3, 1),
        ("tuple", -1, -1),
        ("tuple", lambda result: result[4], -1),
        ("list of dicts", 1, 1),
        ("tensor", lambda result: {"out": -result}, -1),
    ],
)
def test_output_forces_the_choice(form: str, output: Any, sign: int) -> None:
    net, images = Net(form), images_of(9, 12)
    assert torch.equal(magnet.wrap(net, output=output)(images), sign * 4 * net.conv(images))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("divisor, size", [(8, (13, 18)), (32, (5, 3)), (4, (16, 8)), (1, (11, 7)), (16, (1, 1))])
def test_padding_and_resizing(form: str, divisor: int, size: tuple[int, int]) -> None:
    height, width = size
    net, images, seen = Net(form, stride=4), images_of(*size), []
    net.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    logits = magnet.wrap(net, divisor=divisor)(images)
    assert logits.shape == (2, 3, height, width) and logits.dtype == torch.float32

    full = [-(-side // divisor) * divisor for side in size]
    rows, columns = (torch.arange(n).clamp(max=side - 1) for n, side in zip(full, size, strict=True))
    padded = images[:, :, rows][:, :, :, columns]
    assert torch.equal(seen[0], padded)
    expected = F.interpolate(4 * net.conv(padded), full, mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected[..., :height, :width])


def test_resizing_by_hand() -> None:
    """Twice the size: each new value lies a quarter of the way between two old ones; the padding is cut off."""

    class Half(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([0.0, 4.0, 8.0]).expand(len(images), 2, 2, 3)

    logits = magnet.wrap(Half(), divisor=2)(images_of(3, 5))
    assert torch.equal(logits, torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0]).expand(2, 2, 3, 5))


@pytest.mark.parametrize(
    "mean, std, expected",
    [
        ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2), lambda rgb: (rgb - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1))
         / torch.tensor([0.5, 0.25, 0.2]).view(3, 1, 1)),
        (None, None, lambda rgb: rgb),
        (None, [1 / 255] * 3, lambda rgb: rgb * 255),
        (torch.tensor([0.5] * 3), None, lambda rgb: rgb - 0.5),
    ],
)  # fmt: skip
def test_the_network_sees_its_own_normalisation(mean: Any, std: Any, expected: Any) -> None:
    rgb = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    seen = magnet.wrap(nn.Identity(), mean=mean, std=std)(normalize(rgb))
    torch.testing.assert_close(seen, expected(rgb))


def test_imagenet_needs_nothing_done() -> None:
    images = images_of(8, 8)
    assert magnet.wrap(nn.Identity())(images) is images
    assert magnet.wrap(nn.Identity(), mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD), divisor=8)(images) is images


def test_images_are_left_alone() -> None:
    images = images_of(7, 9)
    before = images.clone()
    magnet.wrap(Net(), mean=None, divisor=4)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("size, divisor", [((16, 24), 1), ((13, 18), 8), ((2, 3), 4)])
def test_queries(size: tuple[int, int], divisor: int) -> None:
    net, images = QueryNet(), images_of(*size)
    logits = magnet.wrap(net, divisor=divisor)(images)
    assert logits.shape == (2, 3, *size)
    full = [-(-side // divisor) * divisor for side in size]
    below, right = (n - side for n, side in zip(full, size, strict=True))
    result = net(F.pad(images, (0, right, 0, below), mode="replicate"))
    masks = F.interpolate(result.masks_queries_logits, full, mode="bilinear", align_corners=False)
    expected = plain_probabilities(result.class_queries_logits, masks[..., : size[0], : size[1]])
    torch.testing.assert_close(logits.exp().double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.softmax(dim=1).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 4])
def test_channels_that_come_last_are_refused(stride: int) -> None:
    """(N, h, w, C) has four dimensions, too, and would be resized to a picture of another thing."""
    network = Net(stride=stride, classes=5)
    last = magnet.wrap(network, output=lambda logits: logits.permute(0, 2, 3, 1))
    expected = rf"^model: expected logits \(N, C, h, w\) of the aspect of the images, 32x96, got \(1, {32 // stride}, "
    with pytest.raises(ValueError, match=expected):
        last(torch.zeros(1, 3, 32, 96))
    mended = magnet.wrap(network, output=lambda logits: logits.permute(0, 2, 3, 1).permute(0, 3, 1, 2))
    assert mended(torch.zeros(1, 3, 32, 96)).shape == (1, 5, 32, 96)


def test_queries_by_hand() -> None:
    """Two queries, two classes, one pixel: class probabilities 1/2, 1/4 and 1/8, 1/8; masks 1/2 and 4/5."""
    classes = torch.tensor([[[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]]).log()
    masks = torch.tensor([0.0, torch.tensor(4.0).log()]).view(1, 2, 1, 1)
    scores = torch.tensor([0.5 * 0.5 + 0.8 * 0.125, 0.5 * 0.25 + 0.8 * 0.125])
    expected = scores / scores.sum()
    torch.testing.assert_close(mask_log_probabilities(classes, masks).exp().flatten(), expected)
    result = Queries(class_queries_logits=classes, masks_queries_logits=masks)
    net = nn.Identity()
    net.forward = lambda _: result  # type: ignore[method-assign]
    torch.testing.assert_close(magnet.wrap(net)(images_of(1, 1, n=1)).softmax(1).flatten(), expected)


def test_queries_where_rounding_would_leave_nothing() -> None:
    """All masks far below 0 and "no object" nearly certain: the definition in float32 would be 0 / 0."""
    classes = torch.tensor([[[0.0, -2.0, 150.0], [-3.0, 0.0, 140.0]]])
    masks = torch.full((1, 2, 2, 2), -200.0)
    classes.requires_grad_(), masks.requires_grad_()
    logits = mask_log_probabilities(classes, masks)
    torch.testing.assert_close(logits.exp().double(), plain_probabilities(classes, masks), rtol=1e-5, atol=1e-6)
    logits[:, 0].sum().backward()
    assert classes.grad.isfinite().all() and masks.grad.isfinite().all()


def test_queries_without_a_class() -> None:
    """A class of probability 0 has a finite logarithm, and comes back as 0."""
    classes = torch.tensor([[[0.0, -1000.0, 0.0]]])
    logits = mask_log_probabilities(classes, torch.zeros(1, 1, 2, 2))
    assert logits.isfinite().all()
    first, second = logits.softmax(dim=1)[0, :, 0, 0].tolist()
    assert first == 1 and second < 1e-37


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("form", [*FORMS, "queries"])
def test_magnet_in_two_lines(form: str, refined: bool) -> None:
    net = QueryNet() if form == "queries" else Net(form, stride=2)
    refiner = seed_module(magnet.RefinementModule(3), "refiner.") if refined else None

    segmenter = magnet.wrap(net, divisor=4)
    model = magnet.MagNet(segmenter, refiner, scales=[(10, 14), (20, 28)], patch_size=(10, 14), n_points=0.5)

    class ByHand(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            result = net(F.pad(images, (0, 2, 0, 2), mode="replicate"))
            if form == "queries":
                masks = F.interpolate(result.masks_queries_logits, (12, 16), mode="bilinear", align_corners=False)
                return plain_probabilities(result.class_queries_logits, masks).float().log()[..., :10, :14]
            logits = 4 * net.conv(F.pad(images, (0, 2, 0, 2), mode="replicate"))
            return F.interpolate(logits, (12, 16), mode="bilinear", align_corners=False)[..., :10, :14]

    by_hand = magnet.MagNet(ByHand(), refiner, scales=model.scales, patch_size=model.patch_size, n_points=0.5)
    images = images_of(31, 40)
    probabilities = model(images)
    assert probabilities.shape == (2, 3, 20, 28)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 20, 28))
    same = ((probabilities - by_hand(images)).abs() < 1e-4).all(dim=1).float().mean()
    assert same > 0.99  # rounding may swap a few points of nearly equal score
    assert model.predict(torch.rand(3, 31, 40)).labels.shape == (31, 40)


@pytest.mark.parametrize("form", [*FORMS, "queries"])
def test_compiles_to_one_graph(form: str) -> None:
    torch.compiler.reset()
    net = QueryNet() if form == "queries" else Net(form, stride=4)
    segmenter = magnet.wrap(net, divisor=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    compiled = torch.compile(segmenter, fullgraph=True, backend="aot_eager", dynamic=False)
    images = images_of(13, 18)
    torch.testing.assert_close(compiled(images), segmenter(images))


@pytest.mark.parametrize("form", ["tensor", "queries"])
def test_compiles_for_any_size(form: str) -> None:
    torch.compiler.reset()
    segmenter = magnet.wrap(QueryNet() if form == "queries" else Net(form, stride=4), divisor=8, mean=None)
    compiled = torch.compile(segmenter, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for size in ((13, 18), (21, 10)):
            images = images_of(*size)
            torch.testing.assert_close(compiled(images), segmenter(images))


@pytest.mark.parametrize("form", ["object", "queries"])
def test_exports_with_any_batch(form: str) -> None:
    segmenter = magnet.wrap(QueryNet() if form == "queries" else Net(form, stride=4), divisor=8, mean=None).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(segmenter, (images_of(13, 18),), dynamic_shapes=({0: batch},)).module()
    for n in (1, 5):
        images = images_of(13, 18, n=n)
        torch.testing.assert_close(exported(images), segmenter(images))


def test_autocast() -> None:
    images = images_of(13, 18)
    net, queries = Net(stride=4), QueryNet()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert magnet.wrap(net, divisor=8)(images).dtype == torch.bfloat16
        logits = magnet.wrap(queries)(images)
        result = queries(images)
    assert logits.dtype == torch.float32  # logarithms of probabilities lose too much in half precision
    masks = F.interpolate(result.masks_queries_logits, (13, 18), mode="bilinear", align_corners=False)
    expected = plain_probabilities(result.class_queries_logits, masks)
    torch.testing.assert_close(logits.exp().double(), expected, rtol=1e-5, atol=1e-6)


def test_half_precision_stays() -> None:
    """A network in bfloat16, wrapped afterwards, sees bfloat16 as it would without renormalisation."""
    images = images_of(13, 18).bfloat16()
    assert magnet.wrap(Net(stride=4).bfloat16(), divisor=8, mean=None)(images).dtype == torch.bfloat16


def test_channels_last_stays() -> None:
    net, seen = Net(), []
    net.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    images = images_of(13, 18)
    segmenter = magnet.wrap(net, divisor=8, mean=None)
    expected = segmenter(images)
    logits = segmenter.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert seen[1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(logits, expected)


def test_state_is_the_networks_own() -> None:
    net = Net()
    segmenter = magnet.wrap(net, mean=None, std=None)
    assert segmenter.model is net
    assert list(segmenter.parameters()) == list(net.parameters())
    assert {key.removeprefix("model."): value for key, value in segmenter.state_dict().items()}.keys() == {
        *net.state_dict()
    }
    segmenter.eval()
    assert not net.training
    assert segmenter.train() is segmenter and net.training
    assert segmenter.double()(images_of(4, 4).double()).dtype == torch.float64
    assert torch.equal(copy.deepcopy(segmenter)(images_of(4, 4).double()), segmenter(images_of(4, 4).double()))


@pytest.mark.parametrize("form", [*FORMS, "queries"])
def test_gradients_flow(form: str) -> None:
    net = QueryNet() if form == "queries" else Net(form, stride=4)
    segmenter = magnet.wrap(net, divisor=8, mean=None, std=None).train()
    images = images_of(13, 18).requires_grad_()
    F.cross_entropy(segmenter(images), torch.zeros(2, 13, 18, dtype=torch.long)).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in net.parameters())


def test_no_images() -> None:
    assert magnet.wrap(Net(stride=4), divisor=8, mean=None)(images_of(13, 18, n=0)).shape == (0, 3, 13, 18)


def test_a_network_of_one_logit() -> None:
    """The recipe of the docstring: sigmoid as a softmax."""
    net, images = Net(classes=1), images_of(6, 7)
    segmenter = magnet.wrap(net, output=lambda logits: torch.cat([torch.zeros_like(logits), logits], dim=1))
    torch.testing.assert_close(segmenter(images).softmax(dim=1)[:, 1:], (4 * net.conv(images)).sigmoid())


class Constant(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, images: Tensor) -> Any:
        return self.result


N_MAPS = torch.zeros(2, 5, 4, 4)
BAD_RESULTS = {
    "labels": (torch.zeros(2, 4, 6, dtype=torch.long), r"got Tensor \(2, 4, 6\) of int64"),
    "integer maps": (N_MAPS.int(), r"got Tensor \(2, 5, 4, 4\) of int32"),
    "other batch": (N_MAPS[:1], r"got Tensor \(1, 5, 4, 4\) of float32"),
    "empty maps": (N_MAPS[:, :, :0], r"got Tensor \(2, 5, 0, 4\) of float32"),
    "nothing": (None, "got NoneType"),
    "a text": ("logits", "got str"),
    "unknown keys": ({"pred": N_MAPS, "loss": None}, r"got dict \{'pred': Tensor \(2, 5, 4, 4\) of float32, 'loss'"),
    "many keys": ({f"k{i}": N_MAPS for i in range(15)}, r"'k11': Tensor \(2, 5, 4, 4\) of float32, 3 more\}"),
    "no map in a tuple": ((N_MAPS[0], None), r"got tuple \(Tensor \(5, 4, 4\) of float32, NoneType\)"),
    "object": (
        types.SimpleNamespace(pred=N_MAPS, n=3),
        r"got SimpleNamespace \(\.pred: Tensor \(2, 5, 4, 4\) of float32, \.n: int\)",
    ),
    "logits of an image": (Returned(torch.zeros(2, 10)), r"got Returned \(\.logits: Tensor \(2, 10\) of float32"),
    "masks alone": ({"masks_queries_logits": N_MAPS}, r"got dict \{'masks_queries_logits': Tensor"),
    "masks of other queries": (
        Queries(class_queries_logits=torch.zeros(2, 6, 4), masks_queries_logits=N_MAPS),
        r"got Queries \{'class_queries_logits': Tensor \(2, 6, 4\) of float32, 'masks_queries_logits'",
    ),
    "queries of no class": (
        Queries(class_queries_logits=torch.zeros(2, 5, 1), masks_queries_logits=N_MAPS),
        r"class_queries_logits': Tensor \(2, 5, 1\)",
    ),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_results_without_logits(case: str) -> None:
    result, message = BAD_RESULTS[case]
    with pytest.raises(ValueError, match=r"model: expected logits \(2, C, h, w\).*" + message + r".*; choose with out"):
        magnet.wrap(Constant(result))(images_of(4, 6))


def test_queries_in_a_tuple_are_not_taken_for_logits() -> None:
    result = Queries(class_queries_logits=torch.randn(2, 5, 4), masks_queries_logits=N_MAPS)
    images, values = images_of(4, 4), result.to_tuple()
    with pytest.raises(ValueError, match=r"model: expected to tell logits from the masks of queries.*\(2, 5, 4\)"):
        magnet.wrap(Constant(values))(images)
    assert torch.equal(magnet.wrap(Constant(values), output=1)(images), N_MAPS)
    named = magnet.wrap(
        Constant(values), output=lambda both: {"class_queries_logits": both[0], "masks_queries_logits": both[1]}
    )
    assert torch.equal(named(images), magnet.wrap(Constant(result))(images))
    assert torch.equal(magnet.wrap(Constant(result), output=1)(images), N_MAPS)


@pytest.mark.parametrize(
    "form, output, message",
    [
        ("tensor", "out", r"of Net with 'out', got Tensor \(2, 3, 4, 6\) of float32"),
        ("tensor", 0, r"of Net with 0, got Tensor"),
        ("tensor", "shape", r"of Net with 'shape', got Tensor"),
        ("dict", "main", r"of Net with 'main', got dict \{'aux': Tensor \(2, 3, 4, 6\) of float32, 'out'"),
        ("dict", 0, "of Net with 0, got dict"),
        ("tuple", 5, r"of Net with 5, got tuple \(Tensor \(\) of float32, NoneType, Tensor \(2, 3\)"),
        ("tuple", -6, "of Net with -6, got tuple"),
        ("object", "out", r"of Net with 'out', got Returned \(\.logits"),
    ],
)
def test_outputs_that_are_not_there(form: str, output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"output: expected a result " + message):
        magnet.wrap(Net(form), output=output)(images_of(4, 6))


def test_outputs_that_are_no_logits() -> None:
    with pytest.raises(ValueError, match=r"model: expected logits.*got Tensor \(2, 3\) of float32"):
        magnet.wrap(Net("tuple"), output=2)(images_of(4, 6))
    with pytest.raises(ValueError, match=r"model: expected logits.*got NoneType"):
        magnet.wrap(Net("object"), output="loss")(images_of(4, 6))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 4), (1, 3, 0, 4), (1, 3, 4, 0)])
def test_bad_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images: expected \(N, 3, H, W\), H and W at least 1, got"):
        magnet.wrap(Net())(torch.zeros(shape))


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"model": lambda images: images}, TypeError, "model: expected a module .* got function"),
        ({"output": None}, TypeError, "output: expected 'auto', a key or attribute name, an index, or a function, got"),
        ({"output": True}, TypeError, "output: expected .* got True"),
        ({"output": 1.5}, TypeError, "output: expected .* got 1.5"),
        ({"divisor": 0}, ValueError, "divisor: expected a positive int, got 0"),
        ({"divisor": 2.0}, ValueError, "divisor: expected a positive int, got 2.0"),
        ({"divisor": True}, ValueError, "divisor: expected a positive int, got True"),
        ({"mean": (0.5,)}, ValueError, r"mean: expected 3 numbers, one for each of R, G and B, got 1: \(0.5,\)"),
        ({"mean": [0.0] * 4}, ValueError, "mean: expected 3 numbers, .* got 4"),
        ({"std": [1.0] * 2}, ValueError, "std: expected 3 numbers, .* got 2"),
        ({"mean": 0.5}, TypeError, "mean: expected 3 numbers, one for each of R, G and B, or None, got 0.5"),
        ({"std": ["a", "b", "c"]}, TypeError, "std: expected 3 numbers, .* or None"),
        ({"std": (1.0, 0.0, 1.0)}, ValueError, "std: expected 3 positive numbers"),
        ({"std": (1.0, float("nan"), 1.0)}, ValueError, "std: expected 3 positive numbers"),
        ({"mean": (1.0, float("inf"), 1.0)}, ValueError, "mean: expected 3 finite numbers"),
        (
            {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
            ValueError,
            r"^mean: expected numbers for RGB in \[0, 1\], got \[123\.675, 116\.28, 103\.53\], .*; divide by 255: "
            r"mean=\[0\.485, 0\.456, 0\.406\], std=\[0\.229, 0\.224, 0\.225\]$",
        ),
        ({"mean": [123.675, 116.28, 103.53]}, ValueError, r"divide by 255: mean=\[0\.485, 0\.456, 0\.406\]$"),
        ({"mean": [127.5] * 3, "std": None}, ValueError, r"mean=\[0\.5, 0\.5, 0\.5\], std=\[0\.00392157, "),
        ({"std": [255] * 3}, ValueError, r"^std: expected .* got \[255\.0, 255\.0, 255\.0\], .*: std=\[1, 1, 1\]$"),
        ({"mean": [0.5, 0.5, 1.01]}, ValueError, "^mean: expected numbers for RGB in"),
        ({"mean": [-123.0, -116.0, -103.0]}, ValueError, "^mean: expected numbers for RGB in"),
        ({"mean": ["x" * 9999] * 3}, TypeError, r"^.{0,300}$"),
    ],
)
def test_bad_arguments(changes: dict, error: type[Exception], message: str) -> None:
    arguments = {"model": Net(), **changes}
    with pytest.raises(error, match=message):
        magnet.wrap(**arguments)


# The libraries themselves, where they are installed: tiny networks with random weights, nothing downloaded.


class AsTuple(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net(images, return_dict=False)


def segformer(transformers: Any) -> nn.Module:
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        num_labels=5,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config).eval()


def mask2former(transformers: Any) -> nn.Module:
    backbone = transformers.SwinConfig(
        image_size=32, embed_dim=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=9, num_labels=5,
    )  # fmt: skip
    return transformers.Mask2FormerForUniversalSegmentation(config).eval()


def run_magnet(segmenter: nn.Module) -> None:
    scales = [(48, 64), (96, 128)]
    model = magnet.MagNet(segmenter, None, scales=scales, patch_size=(48, 64), n_points=0.3)
    probabilities = model(images_of(96, 128, n=1))
    assert probabilities.shape == (1, 5, 96, 128)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 96, 128))


def test_transformers_segformer() -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = segformer(transformers), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        padded = F.pad(images, (0, 26, 0, 19), mode="replicate")
        logits = net(padded).logits
        assert logits.shape == (2, 5, 16, 24)
        expected = F.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)[..., :45, :70]
        torch.testing.assert_close(segmenter(images), expected)
        torch.testing.assert_close(magnet.wrap(AsTuple(net), divisor=32)(images), expected)
    run_magnet(segmenter)


def test_transformers_mask2former() -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = mask2former(transformers), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        result = net(F.pad(images, (0, 26, 0, 19), mode="replicate"))
        masks = F.interpolate(result.masks_queries_logits, (64, 96), mode="bilinear", align_corners=False)
        expected = plain_probabilities(result.class_queries_logits, masks)[..., :45, :70]
        torch.testing.assert_close(segmenter(images).exp().double(), expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="expected to tell logits from the masks of queries"):
            magnet.wrap(AsTuple(net), divisor=32)(images)
    run_magnet(segmenter)


@pytest.mark.parametrize("name, encoder", [("Unet", "efficientnet-b0"), ("FPN", "tu-resnet18")])
def test_segmentation_models_pytorch(name: str, encoder: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = getattr(smp, name)(encoder, encoder_weights=None, classes=5).eval(), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        expected = net(F.pad(images, (0, 26, 0, 19), mode="replicate"))[..., :45, :70]
        torch.testing.assert_close(segmenter(images), expected)
    run_magnet(segmenter)


def test_torchvision() -> None:
    models = pytest.importorskip("torchvision.models.segmentation", exc_type=ImportError)
    torch.manual_seed(0)
    net = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5).eval()
    images = images_of(45, 70)
    with torch.no_grad():
        torch.testing.assert_close(magnet.wrap(net)(images), net(images)["out"])
    run_magnet(magnet.wrap(net))
