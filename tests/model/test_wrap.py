"""magnet.wrap: what other libraries' networks return, against results worked out by hand."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seeded import seed_module
from torch import Tensor, nn
from wrapped import FORMS, Net, QueryNet, images_of, plain_probabilities

import magnet
from magnet.images.tensors import IMAGENET_MEAN, IMAGENET_STD, normalize

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision(dtype: torch.dtype) -> None:
    network = seed_module(nn.Conv2d(3, 4, 3, padding=1), "half.")
    settings = {"scales": [(16, 32), (32, 64)], "patch_size": (16, 32), "n_points": 200}
    image = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(0))
    expected = magnet.MagNet(magnet.wrap(network), None, **settings).predict(image).probabilities
    found = magnet.MagNet(magnet.wrap(network.to(dtype)), None, **settings).predict(image).probabilities
    assert found.dtype == torch.float32 and (found - expected).abs().median() < 0.02


def test_no_images() -> None:
    assert magnet.wrap(Net(stride=4), divisor=8, mean=None)(images_of(13, 18, n=0)).shape == (0, 3, 13, 18)


@pytest.mark.parametrize(("form", "activation"), [("tensor", "auto"), ("tensor", "none"), ("sigmoid", "sigmoid")])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_network_of_one_logit(form: str, activation: Any, stride: int) -> None:
    """Two classes inside: a sigmoid is a softmax beside 0."""
    net, images = Net(form, stride=stride, classes=1), images_of(8, 6)
    segmenter = magnet.wrap(net, binary=True, activation=activation)
    logits = F.interpolate(4 * net.conv(images), (8, 6), mode="bilinear", align_corners=False)
    assert segmenter(images).shape == (2, 2, 8, 6)
    torch.testing.assert_close(segmenter(images).softmax(dim=1)[:, 1:], logits.sigmoid(), rtol=1e-4, atol=1e-5)
    model = magnet.MagNet(segmenter, None, scales=[(8, 6), (16, 12)], patch_size=(8, 6), n_points=0.5)
    assert model.predict(torch.rand(3, 16, 12)).probabilities.shape == (2, 16, 12)


def test_a_softmax_is_noticed_once_and_taken_back() -> None:
    net, images = Net("softmax"), images_of(8, 6)
    segmenter = magnet.wrap(net)
    with pytest.warns(UserWarning, match=r"^model: ends in a softmax .* logarithm is taken for logits") as told:
        logits = segmenter(images)
        assert torch.equal(segmenter(images), logits)
    assert len(told) == 1 and segmenter.activation == "softmax"
    torch.testing.assert_close(logits.softmax(dim=1), net(images))
    torch.testing.assert_close(logits, (4 * net.conv(images)).log_softmax(dim=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(magnet.wrap(net, activation="softmax")(images), logits)
        model = magnet.MagNet(segmenter, None, scales=[(8, 6), (16, 12)], patch_size=(8, 6), n_points=0.5)
        model(images)  # whose own look finds logits


def test_logits_are_not_taken_for_a_softmax() -> None:
    segmenter = magnet.wrap(Net())
    segmenter(images_of(1, 1))  # too little to tell
    assert segmenter.activation == "auto"
    segmenter(images_of(8, 6))
    assert segmenter.activation == "none"


def test_a_sigmoid_for_each_class() -> None:
    net, images = Net("sigmoid"), images_of(8, 6)
    logits = magnet.wrap(net, activation="sigmoid")(images)
    torch.testing.assert_close(logits, 4 * net.conv(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("form", "aux"), [("dict", "aux"), ("object of out", "aux"), ("tuple", 4)])
def test_auxiliary_outputs(form: str, aux: Any) -> None:
    net, images = Net(form, stride=2), images_of(9, 12)
    segmenter = magnet.wrap(net, aux=aux, divisor=4)
    main, second = segmenter(images, heads=True)
    assert segmenter.has_aux and torch.equal(main, segmenter(images)) and torch.equal(second, -main)
    assert main.shape == (2, 3, 9, 12)
    assert not magnet.wrap(net).has_aux
