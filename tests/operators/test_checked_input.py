"""The operator that exported programs begin with: what they were exported for is copied, all else refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

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


def without_memory() -> dict[str, Tensor]:
    """Tensors of the right size and type that compiled code cannot read."""
    dense = torch.rand(SHAPE)
    rows = torch.zeros(1, 3, SHAPE[2] + 1, dtype=torch.int64)
    return {
        "meta": dense.to("meta"),
        "sparse_coo": dense.to_sparse(),
        "sparse_csr": torch.sparse_csr_tensor(rows, rows[..., :0], torch.zeros(1, 3, 0), SHAPE),
        "mkldnn": dense.to_mkldnn(),
        "nested": torch.nested.nested_tensor([dense[0]]),
        "nested of jagged": torch.nested.nested_tensor([dense[0]], layout=torch.jagged),
    }


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", ["meta", "sparse_coo", "sparse_csr", "mkldnn", "nested", "nested of jagged"])
def test_tensors_without_memory_are_refused(check, kind: str):
    told = (
        rf"^input: expected float32 of shape \(1, 3, 6, 8\) on cpu, got .*{kind.partition(' ')[0]}.*; bring it to these"
    )
    with pytest.raises(ValueError, match=told):
        check(without_memory()[kind], SHAPE, "cpu")


def test_of_a_fake_tensor_nothing_is_read():
    result = checked_input(FakeTensorMode().from_tensor(torch.rand(SHAPE)), SHAPE, "cpu")
    assert result.device.type == "cpu" and list(result.shape) == SHAPE
    with pytest.raises(RuntimeError, match="Cannot access data pointer of Tensor"):
        result.data_ptr()
