"""uncertainty_score: high where coarse is unsure and fine is sure."""

from __future__ import annotations

import functools

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, gradcheck, on_live_backends, on_live_devices
from seeded import golden, probs
from strategies import DTYPES, LAYOUTS, MapSpec, kernel_sizes, masks, pairs
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import confidence, median_blur, uncertainty_score

each_backend = on_live_backends("uncertainty_score")


def pair(device: str = "cpu", shape=(2, 5, 6, 7), dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(probs(f"score.{name}", *shape).to(device, dtype) for name in ("coarse", "fine"))


@each_backend
def test_smoke(backend):
    coarse = torch.tensor([0.6, 0.4], device=DEVICES[backend]).view(1, 2, 1, 1)
    fine = torch.tensor([0.1, 0.9], device=DEVICES[backend]).view(1, 2, 1, 1)
    assert uncertainty_score(coarse, fine, kernel_size=1, backend=backend).item() == pytest.approx(0.64)
    assert uncertainty_score(coarse, fine, backend=backend).item() == 0, "eight zeros of padding win the median"


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (1, 2, 1, 1), (2, 19, 3, 17), (1, 2, 0, 5), (1, 2, 5, 0)])
def test_cardinality(backend, dtype, shape):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    result = uncertainty_score(x, x, backend=backend)
    assert result.shape == (shape[0], 1, *shape[2:]) and result.dtype == torch.float32 and result.is_contiguous()


BASE = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "error", "argument"),
    [
        ({"coarse": "map"}, TypeError, "coarse"),
        ({"coarse": BASE.int()}, TypeError, "coarse"),
        ({"coarse": BASE[0]}, ValueError, "coarse"),
        ({"coarse": BASE[:, :1], "fine": BASE[:, :1]}, ValueError, "coarse"),
        ({"fine": None}, TypeError, "fine"),
        ({"fine": BASE.double()}, TypeError, "fine"),
        ({"fine": BASE.to("meta")}, ValueError, "fine"),
        ({"fine": BASE[:1]}, ValueError, "fine"),
        ({"fine": torch.zeros(2, 4, 4, 5)}, ValueError, "fine"),
        ({"fine": torch.zeros(2, 3, 8, 10)}, ValueError, "fine"),
        ({"kernel_size": 4}, ValueError, "kernel_size"),
        ({"kernel_size": 2.5}, ValueError, "kernel_size"),
        ({"mask": torch.ones(4, 5)}, TypeError, "mask"),
        ({"mask": [True]}, TypeError, "mask"),
        ({"mask": torch.ones(5, 4, dtype=torch.bool)}, ValueError, "mask"),
        ({"mask": torch.ones(3, 4, 5, dtype=torch.bool)}, ValueError, "mask"),
        ({"mask": torch.ones(2, 3, 4, 5, dtype=torch.bool)}, ValueError, "mask"),
        ({"mask": torch.ones(3, 1, 4, 5, dtype=torch.bool)}, ValueError, "mask"),
        ({"mask": torch.ones(4, 5, dtype=torch.bool, device="meta")}, ValueError, "mask"),
    ],
)
def test_bad_input(changes, error, argument):
    arguments = {"coarse": BASE, "fine": BASE, **changes}
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        uncertainty_score(**arguments)


@each_backend
def test_golden(backend):
    coarse, fine = (probs(f"ops.{name}", 2, 19, 48, 80).to(DEVICES[backend]) for name in ("Y", "R"))
    for kernel_size in (3, 5, 7, 11):
        result = uncertainty_score(coarse, fine, kernel_size=kernel_size, backend=backend)
        expected = torch.from_numpy(golden("ops")[f"median{kernel_size}"])
        torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-6)


@each_backend
@given(data=st.data(), specs=pairs(max_channels=8), kernel_size=kernel_sizes(7))
def test_equals_the_oracle_bit_for_bit(backend, data, specs, kernel_size):
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    mask = data.draw(masks(specs[0].shape))
    mask = mask and mask.make(DEVICES[backend])
    result = uncertainty_score(coarse, fine, kernel_size=kernel_size, mask=mask, backend=backend)
    assert_same(result.cpu() + 0.0, oracle.score(coarse, fine, kernel_size, mask) + 0.0)


@on_live_backends("uncertainty_score", but_not="reference")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, dtype, kernel_size):
    shape = (2, 19, 37, 131)
    coarse = MapSpec(shape, dtype, "probabilities", layout, 5).make(DEVICES[backend])
    fine = MapSpec(shape, dtype, "special", "contiguous", 6).make(DEVICES[backend])
    mask = (torch.rand(shape[2:]) < 0.8).to(coarse.device)
    result = uncertainty_score(coarse, fine, kernel_size=kernel_size, mask=mask, backend=backend)
    expected = uncertainty_score(coarse, fine, kernel_size=kernel_size, mask=mask, backend="reference")
    assert_same(result, expected)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits(backend, dtype):
    shape = (2, 7, 13, 40)
    coarse, fine = (MapSpec(shape, dtype, "normal", "contiguous", s).make(DEVICES[backend]) * 3 for s in (1, 2))
    result = uncertainty_score(coarse, fine, kernel_size=1, from_logits=True, backend=backend)
    expected = (1 - oracle.confidence(coarse, True)) * oracle.confidence(fine, True)
    assert_close(result.cpu(), expected)
    smooth = uncertainty_score(coarse, fine, kernel_size=3, from_logits=True, backend=backend)
    assert_close(smooth.cpu(), oracle.median_blur(expected, 3))


@each_backend
def test_is_its_parts_in_a_row(backend):
    coarse, fine = pair(DEVICES[backend], (1, 19, 31, 65))
    parts = (1 - confidence(coarse)) * confidence(fine)
    assert_same(uncertainty_score(coarse, fine, kernel_size=5, backend=backend), median_blur(parts, 5))


@each_backend
def test_nan_rules(backend):
    coarse, fine = pair(DEVICES[backend], (1, 3, 1, 4))
    coarse[0, :, 0, 0] = coarse[0, :, 0, 2] = coarse.new_tensor([1.0, 0, 0])
    coarse[0, 1, 0, 0] = float("nan")  # fully uncertain: the score is the confidence of fine
    fine[0, :, 0, 0] = fine.new_tensor([0.75, 0.25, 0])
    fine[0, 2, 0, 1] = float("nan")  # not confident at all: the score is 0
    result = uncertainty_score(coarse, fine, kernel_size=1, backend=backend).flatten()
    assert result[:3].tolist() == [0.5, 0, 0]
    assert not result.isnan().any()


@each_backend
def test_mask_counts_before_the_median(backend):
    coarse = torch.full((1, 2, 3, 3), 0.5, device=DEVICES[backend])
    fine = torch.tensor([1.0, 0.0], device=DEVICES[backend]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    mask = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=torch.bool, device=DEVICES[backend])
    options = {"kernel_size": 3, "backend": backend}
    assert uncertainty_score(coarse, fine, mask=mask, **options)[0, 0, 1, 1] == 0, "five of nine are masked"
    mask[0, 0] = True
    result = uncertainty_score(coarse, fine, mask=mask, **options)
    assert result[0, 0, 1, 1] == 1
    assert result[0, 0, 1, 0] == 0


@functools.cache
def well_apart(shape: tuple[int, int, int, int], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """fp64 maps whose classes and whose scores lie so far apart that no step of a finite difference reorders them."""
    for seed in range(1000):
        g = torch.Generator().manual_seed(seed)
        coarse, fine = ((torch.randn(shape, generator=g, dtype=torch.float64)).softmax(1) for _ in range(2))
        gaps = [x.sort(1).values.diff(dim=1)[:, -2:].min() for x in (coarse, fine)]
        scores = ((1 - oracle.confidence(coarse)) * oracle.confidence(fine)).flatten(1)
        gaps.append(torch.cat([scores, scores.new_zeros(len(scores), 1)], 1).sort(1).values.diff(dim=1).min())
        if min(gaps) > 4e-3:
            return coarse.to(device), fine.to(device)
    raise AssertionError("no such maps found")


@each_backend
@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_against_finite_differences(backend, kernel_size, from_logits, masked):
    """The result is float32: see test_confidence."""
    coarse, fine = (x.clone() for x in well_apart((1, 3, 3, 3), DEVICES[backend]))
    if from_logits:
        coarse, fine = coarse.log(), fine.log()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1]], dtype=torch.bool, device=coarse.device) if masked else None

    def run(coarse, fine):
        options = {"kernel_size": kernel_size, "from_logits": from_logits, "mask": mask, "backend": backend}
        return uncertainty_score(coarse, fine, **options).double()

    assert gradcheck(run, coarse.requires_grad_(), fine.requires_grad_(), eps=1e-3, atol=1e-3, rtol=0)


@on_live_devices("uncertainty_score")
@pytest.mark.parametrize(
    ("kernel_size", "from_logits", "masked", "requires_grad"),
    [(1, True, True, True), (1, False, False, True), (3, True, False, False), (3, False, True, False)],
)
def test_opcheck(device, kernel_size, from_logits, masked, requires_grad):
    coarse, fine = (x.clone().requires_grad_(requires_grad) for x in pair(device))
    mask = (torch.rand(2, 1, 6, 7) < 0.7).to(device) if masked else None
    opcheck(torch.ops.magnet_kernels.uncertainty_score.default, (coarse, fine, mask, kernel_size, from_logits))
