"""The operators in torch's own, for ONNX: the same results as the reference, tensor by tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seeded import probs
from torch import Tensor
from torch.overrides import TorchFunctionMode

import magnet_kernels as mk
from magnet.export.plain import plain_operators

PATCH = (8, 12)
BOXES = torch.tensor([[0, 0, 0, 12, 8], [0, 5, 3, 17, 11], [1, 20, 16, 32, 24], [0, 20, 16, 32, 24]]).float()
OPERATORS = torch.ops.magnet_kernels


class TiesAsOnnx(TorchFunctionMode):
    """TopK of ONNX takes the lowest index of equal values, as a stable sort does; torch's topk takes any."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not Tensor.topk:
            return function(*args, **(kwargs or {}))
        x, count, dim = *args, (kwargs or {})["dim"]
        values, indices = x.sort(dim=dim, descending=True, stable=True)
        return torch.return_types.topk((values.narrow(dim, 0, count), indices.narrow(dim, 0, count)))


def plain(name: str, *arguments: object) -> Any:
    with TiesAsOnnx():
        return plain_operators(PATCH)[getattr(OPERATORS, name).default](*arguments)


def maps(name: str, *shape: int) -> Tensor:
    return probs(f"export.plain.{name}", *shape)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("patch", [PATCH, (4, 6)])
@pytest.mark.parametrize("coarse_size", [(24, 32), (12, 20)])
def test_refine_stage(kernel_size: int, patch: tuple[int, int], coarse_size: tuple[int, int]) -> None:
    coarse, patches = maps("coarse", 2, 5, *coarse_size), maps("patches", 4, 5, *patch)
    expected, points = mk.refine_stage(
        coarse, patches, BOXES, (24, 32), n_points=150, kernel_size=kernel_size, return_points=True
    )
    refined, own = plain("refine_stage", coarse, patches, BOXES, 24, 32, 150, kernel_size, False)
    chosen = [sorted(row[row >= 0].tolist()) for row in own]
    assert chosen == [row[row >= 0].tolist() for row in points]
    assert len(chosen[0]) == 150 and len(chosen[1]) == 8 * 12  # all pixels that are covered
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-6)
    labels, _ = plain("refine_stage_labels", coarse, patches, BOXES, 24, 32, 150, kernel_size, False)
    assert torch.equal(labels, expected.argmax(1).to(torch.uint8))


def test_refine_stage_of_logits() -> None:
    coarse, logits = maps("coarse", 2, 5, 24, 32), 9 * maps("logits", 4, 5, *PATCH)
    expected = mk.refine_stage(coarse, logits, BOXES, (24, 32), n_points=50, from_logits=True)
    refined, _ = plain("refine_stage", coarse, logits, BOXES, 24, 32, 50, 3, True)
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-6)


def test_refine_stage_without_patches_upsamples() -> None:
    coarse = maps("coarse", 2, 5, 12, 20)
    refined, points = plain("refine_stage", coarse, coarse[:0, :, :4, :4], BOXES[:0], 24, 32, 7, 3, False)
    expected, _ = mk.upsample_confidence(coarse, (24, 32))
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-6)
    assert points.tolist() == [[-1] * 7] * 2


@pytest.mark.parametrize("from_logits", [False, True])
def test_patch_uncertainty(from_logits: bool) -> None:
    coarse = maps("coarse", 2, 5, 24, 32)
    expected = mk.patch_uncertainty(coarse, BOXES, from_logits=from_logits)
    torch.testing.assert_close(plain("patch_uncertainty", coarse, BOXES, from_logits), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("from_logits", [False, True])
def test_upsample_confidence(from_logits: bool) -> None:
    coarse = maps("coarse", 2, 5, 12, 20)
    expected = mk.upsample_confidence(coarse, (24, 32), from_logits=from_logits)
    for own, one in zip(plain("upsample_confidence", coarse, 24, 32, from_logits), expected, strict=True):
        torch.testing.assert_close(own, one, rtol=0, atol=1e-6)
