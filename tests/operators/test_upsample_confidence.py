"""upsample_confidence: a map made larger, and the confidence of the larger map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from boxes import sizes
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, at_most, gradcheck, live, on_live_backends, on_live_devices
from strategies import DTYPES, LAYOUTS, MapSpec, lay_out, maps
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import confidence, upsample_confidence

each_backend = on_live_backends("upsample_confidence")
each_kernel = on_live_backends("upsample_confidence", but_not="reference")
few_examples = at_most(15)


@each_backend
def test_smoke(backend):
    x = torch.tensor([[0.9, 0.5], [0.1, 0.5]], device=DEVICES[backend]).view(1, 2, 1, 2)
    upsampled, margin = upsample_confidence(x, (2, 4), backend=backend)
    assert upsampled[0, 0].flatten().tolist() == pytest.approx([0.9, 0.8, 0.6, 0.5] * 2, abs=1e-6)
    assert margin.shape == (1, 1, 2, 4)
    assert margin.flatten().tolist() == pytest.approx([0.8, 0.6, 0.2, 0.0] * 2, abs=1e-6)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "size"), [((0, 3, 4, 5), (8, 9)), ((1, 2, 1, 1), (1, 1)), ((2, 19, 3, 17), (1, 90))])
def test_cardinality(backend, dtype, shape, size):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    upsampled, margin = upsample_confidence(x, size, backend=backend)
    assert upsampled.shape == (*shape[:2], *size) and upsampled.dtype == dtype and upsampled.is_contiguous()
    assert margin.shape == (shape[0], 1, *size) and margin.dtype == torch.float32 and margin.is_contiguous()
    assert upsampled.device == x.device and margin.device == x.device


@each_backend
@pytest.mark.parametrize("size", [(4, 5), (8, 10), (3, 7)])
def test_the_layout_is_that_of_the_map(backend, size):
    x = torch.rand(2, 3, 4, 5, device=DEVICES[backend]).contiguous(memory_format=torch.channels_last)
    upsampled, margin = upsample_confidence(x, size, backend=backend)
    assert upsampled.is_contiguous(memory_format=torch.channels_last) and margin.is_contiguous()
    assert_close(upsampled, upsample_confidence(x.contiguous(), size, backend=backend)[0])


def test_bad_input():
    with pytest.raises(ValueError, match=r"^coarse: expected 4 dimensions"):
        upsample_confidence(torch.rand(3, 4, 5), (8, 8))
    with pytest.raises(ValueError, match="two classes"):
        upsample_confidence(torch.rand(1, 1, 4, 5), (8, 8))
    with pytest.raises(ValueError, match=r"^coarse: expected at least one pixel"):
        upsample_confidence(torch.rand(1, 3, 4, 0), (8, 8))
    with pytest.raises(ValueError, match=r"^size: expected two positive ints"):
        upsample_confidence(torch.rand(1, 3, 4, 5), (0, 8))


@each_backend
@few_examples
@given(spec=maps(contents=("normal", "probabilities"), max_width=40), size=sizes(90), from_logits=st.booleans())
def test_equals_interpolate(backend, spec, size, from_logits):
    x = spec.make(DEVICES[backend])
    upsampled, margin = upsample_confidence(x, size, from_logits=from_logits, backend=backend)
    if spec.shape[0] == 0:
        return
    expected = F.interpolate(x.cpu().double(), size, mode="bilinear", align_corners=False)
    if spec.dtype == torch.float32:  # source positions are in float32: a few units in the last place of 40
        torch.testing.assert_close(upsampled.cpu(), expected.float(), rtol=2e-5, atol=2e-5)
    else:
        assert_close(upsampled, expected.to(spec.dtype))
    own = confidence(upsampled, from_logits=from_logits, backend="reference")
    assert_close(margin, own)
    if not from_logits:
        assert_same(margin + 0, own + 0)


@each_backend
@few_examples
@given(spec=maps(), from_logits=st.booleans())
def test_of_the_same_size_is_a_copy(backend, spec, from_logits):
    x = spec.make(DEVICES[backend])
    upsampled, margin = upsample_confidence(x, spec.shape[2:], from_logits=from_logits, backend=backend)
    assert_same(upsampled, x)
    assert upsampled.numel() == 0 or upsampled.data_ptr() != x.data_ptr()
    assert_close(margin, confidence(x, from_logits=from_logits, backend="reference"))


@each_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "size",
    [(38, 1200), (19, 601), (40, 130), (7, 63), (19, 67)],
)
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, size):
    """Rows longer than a block, every reach of the taps, copies, several threads and remainders."""
    for dtype in DTYPES:
        x = MapSpec((2, 5, 19, 67), dtype, "probabilities", layout, 5).make(DEVICES[backend])
        upsampled, margin = upsample_confidence(x, size, backend=backend)
        expected = upsample_confidence(x, size, backend="reference")[0]
        if dtype == torch.float32:
            torch.testing.assert_close(upsampled, expected, rtol=0, atol=1e-5)
        else:
            assert_close(upsampled, expected)
        assert_same(margin + 0, confidence(upsampled, backend="reference") + 0)


def blended(x: torch.Tensor, size: int) -> torch.Tensor:
    """The last axis resized in float32, products rounded one by one; what has no weight is not read."""
    source = (x.shape[-1] / size * (torch.arange(size) + 0.5) - 0.5).clamp(min=0)
    low = source.long()
    weight = source - low
    blend = x[..., low] * (1 - weight) + x[..., (low + 1).clamp(max=x.shape[-1] - 1)] * weight
    return torch.where(weight == 0, x[..., low], blend)


@pytest.mark.skipif("cpu" not in live("upsample_confidence"), reason="of the CPU kernels: others may fuse the sum")
@pytest.mark.parametrize("width", [23, 24, 25, 40, 129, 600])
@pytest.mark.parametrize("factor", [0.5, 2, 4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_that_come_again_are_exact(dtype, factor, width):
    """Sizes whose weights repeat, and with them their edges, where nothing beyond the map may be read."""
    x = MapSpec((1, 6, 5, 2 * width), dtype, "normal", "contiguous", 3).make()
    x[:, 0, :, 0], x[:, 1, :, -1], x[:, 2, :, width], x[:, 3] = torch.inf, -torch.inf, torch.nan, -0.0
    upsampled, margin = upsample_confidence(x, (10, int(2 * width * factor)), backend="cpu")
    rows = blended(x.float().transpose(2, 3), 10).transpose(2, 3)
    assert_same(upsampled, blended(rows, upsampled.shape[3]).to(dtype))
    assert_same(margin + 0, confidence(upsampled, backend="reference") + 0)


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    x = MapSpec((2, 5, 31, 67), torch.float32, "probabilities", "contiguous", 5).make(DEVICES[backend])
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(upsample_confidence(x, (47, 130), backend=backend))
    for result in results[1:]:
        assert_same(result[0], results[0][0])
        assert_same(result[1], results[0][1])


def spread_out(*shape: int) -> torch.Tensor:
    """Classes at least 0.1 apart and in one order everywhere: between pixels and with small steps they keep it."""
    c = torch.arange(shape[1]).view(1, -1, 1, 1)
    return c.double() * 0.2 + 0.1 * torch.rand(shape, dtype=torch.float64)


@each_backend
@pytest.mark.parametrize("size", [(7, 9), (2, 3), (4, 5)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradient_of_the_map(backend, size, layout):
    x = lay_out(spread_out(2, 2, 4, 5), layout).to(DEVICES[backend]).requires_grad_()
    assert gradcheck(lambda x: upsample_confidence(x, size, backend=backend)[0], x)


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradient_of_the_confidence(backend, from_logits):
    """The confidence is float32, so the step is large enough for its rounding to drown."""
    x = spread_out(1, 3, 2, 3).to(DEVICES[backend]).requires_grad_()
    run = lambda x: upsample_confidence(x, (5, 6), from_logits=from_logits, backend=backend)[1].double()  # noqa: E731
    assert gradcheck(run, x, eps=2e-3, atol=5e-4, rtol=0)


@each_backend
def test_gradient_of_both(backend):
    x = spread_out(2, 3, 4, 5).float().to(DEVICES[backend])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    upsampled, margin = upsample_confidence(ours, (9, 11), backend=backend)
    ((upsampled**2).sum() + (margin**2).sum()).backward()
    upsampled = F.interpolate(theirs, (9, 11), mode="bilinear", align_corners=False)
    top = upsampled.topk(2, dim=1).values
    ((upsampled**2).sum() + ((top[:, 0] - top[:, 1]) ** 2).sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


@on_live_devices("upsample_confidence")
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "contiguous"), (torch.bfloat16, "channels_last")])
def test_opcheck(device, from_logits, dtype, layout):
    x = lay_out(spread_out(2, 3, 4, 5), layout).to(device, dtype).requires_grad_()
    opcheck(torch.ops.magnet_kernels.upsample_confidence.default, (x, 9, 11, from_logits))


@on_live_devices("upsample_confidence")
def test_opcheck_backward(device):
    grad = torch.rand(2, 3, 9, 11, device=device, requires_grad=True)
    opcheck(torch.ops.magnet_kernels.upsample_backward.default, (grad, 4, 5))


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("upsample_confidence")
