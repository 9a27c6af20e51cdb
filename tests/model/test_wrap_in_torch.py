"""A wrapped network is a module as any other: compiled, exported, under autocast, in training."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from wrapped import FORMS, Net, QueryNet, images_of, plain_probabilities

import magnet

pytestmark = pytest.mark.usefixtures("one_thread")


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
