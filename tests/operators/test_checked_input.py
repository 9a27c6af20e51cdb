"""The operator that exported programs begin with: what they were exported for is copied, all else refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from magnet_kernels.ops.checked_input import checked_input
from magnet_kernels.reference.checked_input import checked_input as plain

SHAPE = [1, 3, 6, 8]


@pytest.fixture(params=[checked_input, plain], ids=["dispatched", "reference"])
def check(request: pytest.FixtureRequest) -> Callable[[Tensor, list[int], str], Tensor]:
    return request.param


@pytest.mark.parametrize("stride", [1, 2])
def test_what_was_expected_is_copied(check, stride: int):
    x = torch.rand(1, 3, 6 * stride, 8).to(memory_format=torch.channels_last)[:, :, ::stride]
    copy = check(x, SHAPE, "cpu")
    assert torch.equal(copy, x) and copy.is_contiguous() and copy.data_ptr() != x.data_ptr()


@pytest.mark.parametrize(
    ("x", "device"),
    [
        (torch.rand(1, 3, 6, 7), "cpu"),
        (torch.rand(2, 3, 6, 8), "cpu"),
        (torch.rand(3, 6, 8), "cpu"),
        (torch.rand(144), "cpu"),
        (torch.rand(SHAPE).double(), "cpu"),
        (torch.zeros(SHAPE, dtype=torch.uint8), "cpu"),
        (torch.rand(SHAPE), "cuda"),
    ],
)
def test_all_else_is_refused(check, x: Tensor, device: str):
    with pytest.raises(
        ValueError, match=rf"^input: expected float32 of shape \(1, 3, 6, 8\) on {device}, got .* on cpu"
    ):
        check(x, SHAPE, device)


def test_torch_finds_nothing_wrong_with_it():
    torch.library.opcheck(checked_input, (torch.rand(SHAPE), SHAPE, "cpu"))
