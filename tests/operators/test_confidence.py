"""confidence: top-1 minus top-2 class probability."""

from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, gradcheck, live, on_live_backends, on_live_devices
from seeded import golden, probs
from strategies import DTYPES, LAYOUTS, MapSpec, lay_out, maps
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import confidence

each_backend = on_live_backends("confidence")


@each_backend
def test_smoke(backend):
    x = torch.tensor([0.7, 0.2, 0.1], device=DEVICES[backend]).view(1, 3, 1, 1)
    result = confidence(x, backend=backend)
    assert result.shape == (1, 1, 1, 1) and result.dtype == torch.float32
    assert result.item() == pytest.approx(0.5, abs=1e-7)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(0, 3, 4, 5), (1, 2, 1, 1), (2, 19, 3, 17), (1, 2, 0, 5), (1, 2, 5, 0), (3, 64, 1, 70)]
)
def test_cardinality(backend, dtype, shape):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    result = confidence(x, backend=backend)
    assert result.shape == (shape[0], 1, *shape[2:])
    assert result.dtype == torch.float32 and result.device == x.device and result.is_contiguous()


@pytest.mark.parametrize(
    ("x", "error", "needle"),
    [
        ([[0.5]], TypeError, "torch.as_tensor"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), TypeError, "float32"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), TypeError, "float32"),
        (torch.zeros(3, 4, 4), ValueError, "4 dimensions"),
        (torch.zeros(1, 1, 4, 4), ValueError, "two classes"),
        (torch.zeros(1, 0, 4, 4), ValueError, "two classes"),
    ],
)
def test_bad_input(x, error, needle):
    with pytest.raises(error, match=r"^x: expected") as caught:
        confidence(x)
    assert needle in str(caught.value)


@each_backend
@pytest.mark.parametrize("name", ["Y", "R"])
def test_golden(backend, name):
    expected = torch.from_numpy(golden("ops")[f"certainty_{name}"])
    result = confidence(probs(f"ops.{name}", 2, 19, 48, 80).to(DEVICES[backend]), backend=backend)
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-6)


@each_backend
@given(spec=maps())
def test_equals_the_oracle_bit_for_bit(backend, spec):
    x = spec.make(DEVICES[backend])
    assert_same(confidence(x, backend=backend).cpu() + 0.0, oracle.confidence(x) + 0.0)


@each_backend
@given(spec=maps(contents=("normal", "ties", "flat", "special")), scale=st.sampled_from([1, 30, 200]))
def test_logits(backend, spec, scale):
    x = spec.make(DEVICES[backend]) * scale
    assert_close(confidence(x, from_logits=True, backend=backend).cpu(), oracle.confidence(x, from_logits=True))


@each_backend
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, dtype):
    """Many rows, several threads, full vectors and remainders: the same as the reference, bit for bit."""
    x = MapSpec((2, 19, 67, 131), dtype, "special", layout, 5).make(DEVICES[backend])
    assert_same(confidence(x, backend=backend), confidence(x, backend="reference"))


@each_backend
def test_nan_and_infinity(backend):
    nan, inf = float("nan"), float("inf")
    pixels = [[nan, 0.2, 0.1], [0.2, 0.1, nan], [inf, inf, 0.0], [-inf, -inf, -inf], [nan, nan, nan], [inf, 0.5, 0.1]]
    x = torch.tensor(pixels, device=DEVICES[backend]).T.reshape(1, 3, 1, -1)
    assert confidence(x, backend=backend).flatten().tolist() == [0, 0, 0, 0, 0, inf]
    logits = confidence(x, from_logits=True, backend=backend).flatten().tolist()
    assert logits == [0, 0, 0, 0, 0, 0], "a softmax with an infinite entry is not a number"


@each_backend
def test_nan_does_not_spread(backend):
    x = probs("nan", 1, 5, 9, 40).to(DEVICES[backend])
    clean = confidence(x, backend=backend)
    x[0, 3, 4, 17] = float("nan")
    clean[0, 0, 4, 17] = 0
    assert_same(confidence(x, backend=backend), clean)


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    x = probs("threads", 1, 19, 61, 67).to(DEVICES[backend])
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(confidence(x, from_logits=backend != "reference", backend=backend))  # torch's softmax does
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


def spread_out(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """fp64 maps whose classes are at least 0.1 apart: no step of a finite difference changes their order."""
    n, c, h, w = shape
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(n, h, w, c, generator=g).argsort(-1).permute(0, 3, 1, 2)
    return order.double() * 0.2 + 0.1 * torch.rand(shape, generator=g, dtype=torch.float64)


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_gradient_against_finite_differences(backend, from_logits, layout):
    """The result is float32, so the step is large enough to drown its rounding: error about 1e-7 / 1e-3 + step^2."""
    x = lay_out(spread_out((2, 4, 2, 3), 0), layout).to(DEVICES[backend]).requires_grad_()
    run = lambda x: confidence(x, from_logits=from_logits, backend=backend).double()  # noqa: E731
    assert gradcheck(run, x, eps=2e-3, atol=5e-4, rtol=0)


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_against_torch(backend, from_logits, dtype):
    x = spread_out((2, 5, 3, 4), 1).to(DEVICES[backend], dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.rand(2, 1, 3, 4, device=x.device)
    (confidence(ours, from_logits=from_logits, backend=backend) * weight).sum().backward()
    wide = theirs.to(torch.promote_types(dtype, torch.float32))
    top = (wide.softmax(1) if from_logits else wide).topk(2, dim=1).values
    ((top[:, :1] - top[:, 1:]) * weight).sum().backward()
    assert ours.grad.dtype == dtype
    precision = torch.float32 if dtype == torch.float64 else dtype  # probabilities are computed in fp32
    assert_close(ours.grad.to(precision), theirs.grad.to(precision))


@on_live_devices("confidence")
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(device, from_logits, dtype):
    x = spread_out((2, 3, 4, 5), 2).to(device, dtype).requires_grad_()
    opcheck(torch.ops.magnet_kernels.confidence.default, (x, from_logits))


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("confidence")
