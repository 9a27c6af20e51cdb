"""The small network: sizes, gradients, budget."""

from __future__ import annotations

import pytest
import torch

from magnet.networks import build_segmenter
from magnet.networks.compact import Compact


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (1, 1), (5, 200), (73, 110)])
def test_output_has_the_size_of_any_input(size: tuple[int, int]) -> None:
    network = build_segmenter("compact", 5).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


def test_parameters_stay_under_five_million() -> None:
    count = sum(p.numel() for p in Compact(19).parameters())
    assert 1_000_000 < count < 5_000_000


def test_every_parameter_gets_a_gradient() -> None:
    network = Compact(3)
    network(torch.randn(2, 3, 40, 56)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_channels_last_gives_the_same_and_autocast_stays_float32() -> None:
    torch.manual_seed(0)
    network = Compact(3).eval()
    x = torch.randn(1, 3, 37, 50)
    with torch.inference_mode():
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            network(x.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5
        )
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.float32
    assert (half - expected).abs().max() < 0.1 * expected.abs().max() + 0.02


def test_far_pixels_are_seen() -> None:
    torch.manual_seed(0)
    network = Compact(2).eval()
    x = torch.randn(1, 3, 64, 256, requires_grad=True)
    network(x)[0, 0, 32, 4].backward()
    assert x.grad is not None and x.grad[..., 250:].abs().sum() > 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 0},
        {"num_classes": 2, "widths": (8,)},
        {"num_classes": 2, "widths": (8, 0)},
        {"num_classes": 2, "widths": (8, 10**9)},
        {"num_classes": 2, "widths": (1,) * 10**4},
    ],
)
def test_bad_arguments(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"num_classes|widths"):
        Compact(**arguments)
