"""median_blur: the median of a square window, zero padded."""

from __future__ import annotations

import itertools

import oracle
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from live import DEVICES, gradcheck, on_live_backends, on_live_devices
from seeded import golden
from strategies import DTYPES, LAYOUTS, MapSpec, kernel_sizes, maps
from tolerances import assert_same
from torch.library import opcheck

from magnet_kernels import median_blur

each_backend = on_live_backends("median_blur")
ODD_SIZES = (1, 3, 5, 7, 9, 11, 13, 15)


@each_backend
def test_smoke(backend):
    x = torch.arange(1.0, 10.0, device=DEVICES[backend]).view(1, 1, 3, 3)
    assert median_blur(x, backend=backend)[0, 0].tolist() == [[0, 2, 0], [2, 5, 3], [0, 5, 0]]


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel_size", ODD_SIZES)
@pytest.mark.parametrize("shape", [(0, 1, 4, 5), (1, 1, 1, 1), (2, 3, 5, 7), (1, 1, 0, 5), (1, 2, 5, 0), (1, 1, 1, 40)])
def test_cardinality(backend, dtype, kernel_size, shape):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    result = median_blur(x, kernel_size, backend=backend)
    assert result.shape == x.shape and result.dtype == dtype and result.device == x.device


@pytest.mark.parametrize("kernel_size", [0, 2, 4, -1, -3, 16, 17, 3.0, "3", True, None, (3, 3)])
def test_bad_kernel_size(kernel_size):
    with pytest.raises(ValueError, match=r"^kernel_size: expected an odd int from 1 to 15"):
        median_blur(torch.zeros(1, 1, 4, 4), kernel_size)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (3, TypeError),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), TypeError),
        (torch.zeros(4, 4), ValueError),
        (torch.zeros(1, 0, 4, 4), ValueError),
    ],
)
def test_bad_input(x, error):
    with pytest.raises(error, match=r"^x: expected"):
        median_blur(x)


@each_backend
@pytest.mark.parametrize("kernel_size", [3, 5, 7, 11])
def test_golden(backend, kernel_size):
    figures = {name: torch.from_numpy(value) for name, value in golden("ops").items() if name.startswith(("c", "m"))}
    score = (1 - figures["certainty_Y"]) * figures["certainty_R"]
    result = median_blur(score.to(DEVICES[backend]), kernel_size, backend=backend)
    torch.testing.assert_close(result.cpu(), figures[f"median{kernel_size}"], rtol=0, atol=1e-6)


@each_backend
@given(spec=maps(min_channels=1, max_channels=3, max_height=20), kernel_size=kernel_sizes())
def test_equals_the_oracle_bit_for_bit(backend, spec, kernel_size):
    x = spec.make(DEVICES[backend])
    assert_same(median_blur(x, kernel_size, backend=backend).cpu(), oracle.median_blur(x, kernel_size))


@on_live_backends("median_blur", but_not="reference")
@pytest.mark.parametrize("kernel_size", ODD_SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, kernel_size, dtype):
    for content, layout in itertools.product(("special", "ties"), LAYOUTS):
        x = MapSpec((1, 2, 37, 83), dtype, content, layout, kernel_size).make(DEVICES[backend])
        assert_same(median_blur(x, kernel_size, backend=backend), median_blur(x, kernel_size, backend="reference"))


@each_backend
@pytest.mark.parametrize("kernel_size", [3, 5, 11])
def test_properties(backend, kernel_size):
    x = torch.randn(1, 1, 40, 50, device=DEVICES[backend])
    blurred = median_blur(x, kernel_size, backend=backend)
    assert torch.isin(blurred, torch.cat([x.flatten(), x.new_zeros(1)])).all(), "a median is one of the values"
    r = kernel_size // 2
    inside = (slice(None), slice(None), slice(r, -r), slice(r, -r))
    assert_same(median_blur(-x, kernel_size, backend=backend)[inside], -blurred[inside])
    flipped = median_blur(x.flip(3).mT, kernel_size, backend=backend)
    assert_same(flipped, blurred.flip(3).mT)
    assert_same(median_blur(x * 2, kernel_size, backend=backend), blurred * 2)


@each_backend
def test_a_few_nans_do_not_spread(backend):
    x = torch.ones(1, 1, 9, 9, device=DEVICES[backend])
    x[0, 0, 4, 3:7] = float("nan")
    result = median_blur(x, 3, backend=backend)
    assert (result[0, 0, 1:-1, 1:-1] == 1).all()
    x[0, 0, 3:6, 3:6] = float("nan")
    assert median_blur(x, 3, backend=backend)[0, 0, 4, 4].isnan(), "where most of the window is NaN, so is its median"


@each_backend
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_follows_the_input(backend, layout):
    x = MapSpec((2, 3, 4, 5), torch.float32, "normal", layout, 0).make(DEVICES[backend])
    assert median_blur(x, 3, backend=backend).stride() == torch.empty_like(x).stride()
    assert median_blur(x, 1, backend=backend).stride() == torch.empty_like(x).stride()


@each_backend
def test_size_one_copies(backend):
    x = torch.rand(1, 1, 3, 3, device=DEVICES[backend])
    result = median_blur(x, 1, backend=backend)
    assert_same(result, x)
    assert result.data_ptr() != x.data_ptr()


def distinct(shape: tuple[int, ...], device: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Values 0.1 apart and never 0, so that no small step changes their order."""
    numel = torch.Size(shape).numel()
    order = torch.randperm(numel, generator=torch.Generator().manual_seed(numel))
    return ((order - numel // 2) * 0.1 + 0.05).view(shape).to(device, dtype)


@each_backend
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_gradcheck(backend, kernel_size):
    x = distinct((2, 2, 4, 5), DEVICES[backend]).requires_grad_()
    assert gradcheck(lambda x: median_blur(x, kernel_size, backend=backend), x)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_against_torch(backend, dtype):
    x = distinct((1, 2, 6, 7), DEVICES[backend], dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randint(1, 9, x.shape, device=x.device).to(dtype)  # sums of small integers are exact
    (median_blur(ours, 3, backend=backend) * weight).sum().backward()
    windows = F.pad(theirs, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
    (windows.median(-1).values * weight).sum().backward()
    assert_same(ours.grad + 0.0, theirs.grad + 0.0)


@on_live_devices("median_blur")
@pytest.mark.parametrize(
    ("kernel_size", "requires_grad", "layout"),
    [(1, True, "contiguous"), (3, True, "contiguous"), (3, False, "channels_last"), (5, False, "sliced")],
)
def test_opcheck(device, kernel_size, requires_grad, layout):
    x = MapSpec((2, 3, 4, 5), torch.float32, "normal", layout, 3).make(device).requires_grad_(requires_grad)
    opcheck(torch.ops.magnet_kernels.median_blur.default, (x, kernel_size))
