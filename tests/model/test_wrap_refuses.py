"""magnet.wrap refuses results without logits, images and arguments that are wrong, and says what mends it."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from wrapped import Net, Queries, Returned, images_of

import magnet

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_one_logit_is_said_to_be_one() -> None:
    with pytest.raises(ValueError, match=r"model: expected two or more logits a pixel, got \(2, 1, 4, 6\); give"):
        magnet.wrap(Net(classes=1))(images_of(4, 6))
    with pytest.raises(ValueError, match=r"model: expected one logit a pixel, .* got \(2, 3, 4, 6\); leave binary out"):
        magnet.wrap(Net(), binary=True)(images_of(4, 6))


def test_auxiliary_outputs_that_are_not_there() -> None:
    segmenter = magnet.wrap(Net(), aux="aux")
    segmenter(images_of(4, 6))
    with pytest.raises(ValueError, match=r"aux: expected a result of Net with 'aux', got Tensor"):
        segmenter(images_of(4, 6), heads=True)


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
        ({"aux": True}, TypeError, "aux: expected .* got True"),
        ({"binary": 1}, TypeError, "binary: expected true or false, got 1"),
        ({"activation": "relu"}, ValueError, "activation: expected one of auto, none, softmax, sigmoid, got 'relu'"),
        ({"activation": "softmax", "binary": True}, ValueError, "activation: expected 'none' or 'sigmoid' with binary"),
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
