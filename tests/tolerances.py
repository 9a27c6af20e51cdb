"""How close results must be, per type of the result: one table. Whatever needs no rounding is compared bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

# type of the result: (rtol, atol), a few units in the last place of values around 1
TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-6, 2e-6),
    torch.float16: (1e-3, 1e-3),
    torch.bfloat16: (8e-3, 8e-3),
}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal in shape and type, close as the table says, NaN where NaN is expected."""
    rtol, atol = TOLERANCES[actual.dtype]
    torch.testing.assert_close(actual.cpu(), expected.cpu(), rtol=rtol, atol=atol, equal_nan=True)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Bit for bit the same, but for the payload of NaN."""
    assert actual.dtype == expected.dtype, f"{actual.dtype} is not {expected.dtype}"
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    if actual.is_floating_point():
        assert torch.equal(actual.isnan(), expected.isnan()), "NaN in different places"
        wrong = (bits(actual) != bits(expected)) & ~expected.isnan()
    else:
        wrong = actual != expected
    if wrong.any():
        where = tuple(int(i) for i in wrong.nonzero()[0])
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.numel()} differ; first at {where}: "
            f"{actual[where].item()!r}, expected {expected[where].item()!r}"
        )


def bits(x: Tensor) -> Tensor:
    """The bits of floats as integers, so that -0 differs from 0."""
    return x.contiguous().view({8: torch.int64, 4: torch.int32, 2: torch.int16}[x.element_size()])
