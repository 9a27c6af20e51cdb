"""Batch normalisation folded into convolutions: the same answers, and only where nobody could tell."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from magnet.networks import build_refiner, build_segmenter, folding
from magnet.networks.folding import ConvNorm, conv_bn, folds


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with statistics and factors that are far from those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight.data, 0.3, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.2, 2),
            ):
                assert values is not None
                values.uniform_(low, high, generator=generator)
    return network.eval()


@given(
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    seed=st.integers(0, 999),
)
def test_one_convolution_is_both(inputs: int, outputs: int, kernel: int, stride: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    layers = settled(ConvNorm(conv, nn.BatchNorm2d(outputs), nn.ReLU()), seed)
    x = torch.randn(2, inputs, 7, 6)
    apart = torch.relu(layers[1](layers[0](x)))
    with torch.no_grad():
        assert folds(x, layers[0], layers[1])
        assert torch.allclose(layers(x), apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["compact", "hrnet18+ocr", "fpn", "psp", "merge", "guided"])
def test_networks_give_what_their_layers_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    maps = [torch.rand(1, 3, 33, 32) for _ in range(3)]
    if name in ("merge", "guided"):
        network = settled(build_refiner(name, 3))
        arguments = maps[: 2 if name == "merge" else 3]
        arguments[:2] = [x.softmax(dim=1) for x in arguments[:2]]
    else:
        network, arguments = settled(build_segmenter(name, 3)), maps[:1]
    seen = []
    real = folding.conv_bn

    def counted(x: Tensor, conv: nn.Module, bn: nn.Module) -> Tensor:
        seen.append(folds(x, conv, bn))
        return real(x, conv, bn)

    for module in ("folding", "unet", "resnet", "hrnet", "refinement"):
        monkeypatch.setattr(f"magnet.networks.{module}.conv_bn", counted)
    with torch.no_grad():
        once = network(*arguments)
    assert any(seen), "nothing is folded"
    folded_ones = len(seen)
    apart = network(*arguments)  # gradients are wanted: layer by layer
    assert not any(seen[folded_ones:]) and apart.requires_grad
    assert torch.allclose(once, apart, atol=2e-4 * float(once.abs().max()), rtol=1e-3)


def test_half_precision_keeps_its_type() -> None:
    network = settled(build_segmenter("compact", 2))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        whole = network(x)
        assert (network.bfloat16()(x.bfloat16()) - whole).abs().max() < 0.1
        with torch.autocast("cpu", torch.bfloat16):
            assert (network.float()(x) - whole).abs().max() < 0.1


def test_where_someone_listens_both_layers_run() -> None:
    x = torch.randn(1, 2, 5, 5)

    def layers() -> ConvNorm:
        return settled(ConvNorm(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)))  # type: ignore[return-value]

    class Other(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    class Rectified(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    with torch.no_grad():
        for index in (0, 1):
            for listen in ("register_forward_hook", "register_forward_pre_hook"):
                seen: list[int] = []
                watched = layers()
                getattr(watched[index], listen)(lambda *_, seen=seen: seen.append(1))
                watched(x)
                assert seen == [1]
        pruned = layers()
        prune.l1_unstructured(pruned[0], "weight", amount=0.5)  # type: ignore[no-untyped-call]
        pruned[0].weight_mask.zero_()  # type: ignore[operator, union-attr]
        assert pruned(x).std(dim=(0, 2, 3)).max() < 1e-6  # weights of zero, as the mask has them now
        rectified = layers()
        rectified[1] = settled(Rectified(3))
        assert rectified(x).min() == 0
        changed = layers()
        conv = changed[0]
        changed[0] = Other(2, 3, 3)
        changed[0].load_state_dict(conv.state_dict())
        assert torch.equal(changed(x), changed[1](conv(x) + 1))
        for bn in (nn.BatchNorm2d(3, affine=False).eval(), nn.BatchNorm2d(3, track_running_stats=False).eval()):
            assert torch.equal(conv_bn(x, conv, bn), bn(conv(x)))
        training = layers().train()
        before = training[1].running_mean.clone()  # type: ignore[operator, union-attr]
        training(x)
        assert not torch.equal(before, training[1].running_mean)  # type: ignore[arg-type]


def test_gradients_in_eval_mode_reach_every_parameter() -> None:
    network = settled(build_segmenter("compact", 2))
    network(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())
