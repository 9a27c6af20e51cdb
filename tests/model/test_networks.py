"""Networks: keys, golden outputs, shapes, gradients and errors."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from seeded import golden, golden_keys, probs, randn, seed_module
from torch import nn

from magnet.errors import MagNetError
from magnet.networks import SEGMENTERS, RefinementModule, build_segmenter

GOLDEN = {
    "hrnet18+ocr": (19, (1, 3, 64, 128)),
    "hrnet48+ocr": (19, (1, 3, 64, 128)),
    "fpn": (7, (1, 3, 96, 96)),
    "psp": (19, (1, 3, 64, 128)),
}
TOLERANCE = 1e-4  # of the largest value


def assert_golden(actual: torch.Tensor, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


def keys_of(module: nn.Module) -> list[tuple[str, tuple[int, ...], str]]:
    return [(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in module.state_dict().items()]


@pytest.fixture(autouse=True)
def one_thread():
    """Hundreds of tiny convolutions: waiting for a second thread costs more than it gives, on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=GOLDEN)
def network(request):
    """(name, classes, input shape, network with seeded weights): built once for the tests below."""
    num_classes, shape = GOLDEN[request.param]
    return request.param, num_classes, shape, seed_module(build_segmenter(request.param, num_classes))


def test_segmenter_keys(network):
    name, num_classes, _, module = network
    assert keys_of(module) == golden_keys(f"{name}/{num_classes}")


def test_segmenter_golden(network):
    name, num_classes, shape, module = network
    with torch.no_grad():
        logits = module(randn(f"input.{name}", *shape))
    assert logits.shape == (shape[0], num_classes, *shape[2:])
    assert_golden(logits[..., ::4, ::4], golden("models")[f"{name}/{num_classes}"])


@pytest.mark.parametrize("size", [(19, 26), (32, 17)])
def test_segmenter_odd_sizes(network, size):
    _, num_classes, _, module = network
    with torch.no_grad():
        assert module(torch.randn(2, 3, *size)).shape == (2, num_classes, *size)


@pytest.mark.parametrize("name", ["hrnet18+ocr", "fpn", "psp"])
def test_segmenter_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    module = build_segmenter(name, 4).train()
    images = torch.randn(2, 3, 32, 64 if name == "psp" else 32, requires_grad=True)
    module(images).square().mean().backward()
    assert [key for key, p in module.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert images.grad.abs().sum() > 0
    # a bias before batch normalisation has no effect; everything else learns
    still = [key for key, p in module.named_parameters() if p.grad.abs().max() == 0]
    assert [key for key in still if not key.endswith("bias")] == []


def test_heads_make_the_output(network):
    name, num_classes, _, module = network
    assert getattr(module, "has_aux", False) == (name != "fpn")
    if name == "fpn":
        return
    images = randn("heads", 1, 3, 32, 32)
    with torch.no_grad():
        main, aux = module(images, heads=True)
        assert main.shape == aux.shape == (1, num_classes, 32, 32)
        assert not torch.equal(main, aux)
        torch.testing.assert_close(module(images), (main + 0.4 * aux) / 1.4)


def test_refinement_keys():
    module = RefinementModule(19)
    assert keys_of(module) == golden_keys("refinement/19")
    assert sum(p.numel() for p in module.parameters()) == 103_500


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_refinement_golden(order):
    maps = {name: probs(f"refine.{name}", 2, 19, 32, 64) for name in "ab"}
    module = seed_module(RefinementModule(19))
    with torch.no_grad():
        logits = module(maps[order[0]], maps[order[1]])
    assert_golden(logits[..., ::2, ::2], golden("models")[f"refinement/{order}"])


def test_refinement_gradients_reach_both_maps():
    fine, coarse = (probs(name, 2, 3, 16, 16).requires_grad_() for name in ("fine", "coarse"))
    module = RefinementModule(3)
    module(fine, coarse).square().mean().backward()
    assert fine.grad.abs().sum() > 0 and coarse.grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters())


def test_refinement_channels_last_is_the_same():
    fine, coarse = probs("fine", 1, 5, 24, 40), probs("coarse", 1, 5, 24, 40)
    module = seed_module(RefinementModule(5))
    with torch.no_grad():
        expected = module(fine, coarse)
        module = module.to(memory_format=torch.channels_last)
        actual = module(*(x.to(memory_format=torch.channels_last) for x in (fine, coarse)))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_refinement_errors():
    module = RefinementModule(4)
    with pytest.raises(ValueError, match=r"coarse: expected the shape of fine.*8, 8.*8, 9"):
        module(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 9))
    with pytest.raises(ValueError, match=r"fine: expected \(N, 4, H, W\).*\(1, 5, 8, 8\)"):
        module(torch.zeros(1, 5, 8, 8), torch.zeros(1, 5, 8, 8))
    for bad in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="num_classes: expected a positive int"):
            RefinementModule(bad)


@pytest.mark.parametrize("build", [RefinementModule, *(partial(build_segmenter, name) for name in SEGMENTERS)])
def test_no_network_of_a_billion_classes_is_built(build):
    for bad in (10_001, 10**9, 10**400):
        with pytest.raises(ValueError, match=r"^num_classes: expected at most 10000, got 10"):
            build(bad)


def test_build_segmenter_errors():
    for name in (["fpn"], None, {}):
        with pytest.raises(ValueError, match="name: expected one of"):
            build_segmenter(name, 3)
    with pytest.raises(ValueError, match=r"name: expected one of 'compact'.*got 'unet'"):
        build_segmenter("unet", 3)
    for bad in (0, 2.5, True, "3"):
        with pytest.raises(ValueError, match="num_classes: expected a positive int"):
            build_segmenter("fpn", bad)
    with pytest.raises(MagNetError, match="does not exist"):
        build_segmenter("hrnet18+ocr", 3, weights="nowhere.safetensors")


def test_build_segmenter_compact():
    module = build_segmenter("compact", 3).eval()
    assert sum(p.numel() for p in module.parameters()) < 5_000_000
    with torch.no_grad():
        assert module(torch.randn(2, 3, 40, 56)).shape == (2, 3, 40, 56)
    assert "compact" in SEGMENTERS


def test_build_segmenter_loads_weights(tmp_path):
    source = seed_module(build_segmenter("hrnet18+ocr", 3))
    torch.save({f"model.{key}": value for key, value in source.state_dict().items()}, tmp_path / "w.pth")
    loaded = build_segmenter("hrnet18+ocr", 3, weights=tmp_path / "w.pth")
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
