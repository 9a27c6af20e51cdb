"""patch_uncertainty: the mean of 1 - confidence over boxes."""

from __future__ import annotations

import oracle
import pytest
import torch
from boxes import bad_boxes, box_lists, on_each_device
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, at_most, gradcheck, live, on_live_backends, on_live_devices
from seeded import probs
from strategies import DTYPES, LAYOUTS, MapSpec, maps
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import patch_uncertainty

each_backend = on_live_backends("patch_uncertainty")
each_kernel = on_live_backends("patch_uncertainty", but_not="reference")
few_examples = at_most(15)
BOXES = torch.tensor([[0, 0, 0, 3, 2], [1, 1.2, 0.6, 7, 9], [1, -4, -4, 2, 2], [0, 2, 1, 2, 3]])


def by_slices(confidence: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Python's own rounding and slicing, in fp64."""
    values = []
    for image, *corners in boxes.tolist():
        x0, y0, x1, y1 = (max(round(corner), 0) for corner in corners)
        pixels = 1 - confidence[int(image), 0, y0:y1, x0:x1].double()
        values.append(pixels.mean().item() if pixels.numel() else 0.0)
    return torch.tensor(values, dtype=torch.float32)


@each_backend
def test_smoke(backend):
    x = torch.tensor([[0.9, 0.5, 0.7], [0.1, 0.5, 0.3]], device=DEVICES[backend]).view(1, 2, 1, 3)
    boxes = torch.tensor([[0, 0, 0, 1, 1], [0, 1, 0, 3, 1], [0, 0, 0, 9, 9], [0, 5, 5, 9, 9]], device=x.device)
    result = patch_uncertainty(x, boxes.float(), backend=backend)
    assert result.tolist() == pytest.approx([0.2, 0.8, 0.6, 0], abs=1e-6)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "patches"), [((0, 3, 4, 5), 0), ((2, 3, 4, 5), 0), ((1, 2, 0, 5), 2), ((2, 19, 3, 17), 3)]
)
def test_cardinality(backend, dtype, shape, patches):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    boxes = torch.tensor([[0.0, 0, 0, 2, 1]], device=x.device).expand(patches, 5)
    result = patch_uncertainty(x, boxes, backend=backend)
    assert result.shape == (patches,) and result.dtype == torch.float32 and result.device == x.device


@each_backend
@pytest.mark.parametrize(("boxes", "error", "needle"), bad_boxes())
def test_bad_boxes(backend, boxes, error, needle):
    device = DEVICES[backend]
    for there in on_each_device(boxes, device):
        with pytest.raises(error, match=r"^boxes: expected .*, got") as caught:
            patch_uncertainty(torch.rand(2, 3, 4, 5, device=device), there, backend=backend)
        assert needle in str(caught.value)


def test_bad_map():
    with pytest.raises(ValueError, match="two classes"):
        patch_uncertainty(torch.rand(1, 1, 4, 5), torch.zeros(1, 5))


@each_backend
@few_examples
@given(data=st.data())
def test_equals_slices(backend, data):
    spec = data.draw(maps())
    boxes = data.draw(box_lists(spec.shape[0], spec.shape[2:], (4, 9))).make(DEVICES[backend])
    x = spec.make(DEVICES[backend])
    confidence = oracle.confidence(x).cpu()
    result = patch_uncertainty(x, boxes, backend=backend)
    torch.testing.assert_close(result.cpu(), by_slices(confidence, boxes), rtol=2e-6, atol=2e-6, equal_nan=True)


@each_backend
@few_examples
@given(data=st.data())
def test_logits(backend, data):
    spec = data.draw(maps(contents=("normal", "ties", "flat")))
    boxes = data.draw(box_lists(spec.shape[0], spec.shape[2:], (4, 9))).make(DEVICES[backend])
    x = spec.make(DEVICES[backend])
    result = patch_uncertainty(x, boxes, from_logits=True, backend=backend)
    assert_close(result, by_slices(oracle.confidence(x, from_logits=True).cpu(), boxes))


@each_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("boxes_on_top", [1, 5])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, boxes_on_top):
    """Several threads, rows longer than a block, and so many boxes on top of each other that the map is made once."""
    h, w = 37, 1100
    x = MapSpec((2, 5, h, w), torch.float32, "probabilities", layout, 5).make(DEVICES[backend])
    boxes = torch.tensor([[0, 0, 0, w, h], [1, 3, 5, w - 10, h - 4]], device=x.device).float().repeat(boxes_on_top, 1)
    result = patch_uncertainty(x, boxes, backend=backend)
    assert_close(result, patch_uncertainty(x, boxes, backend="reference"))
    assert_same(result[-2:], result[:2])


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    x, boxes = probs("threads", 2, 5, 31, 67).to(DEVICES[backend]), BOXES.to(DEVICES[backend])
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(patch_uncertainty(x, boxes, backend=backend))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


def spread_out(*shape: int) -> torch.Tensor:
    """Classes at least 0.1 apart, so that no step of a finite difference changes their order."""
    order = torch.rand(shape).argsort(1)
    return (order.double() * 0.2 + 0.1 * torch.rand(shape, dtype=torch.float64)).contiguous()


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradient_against_finite_differences(backend, from_logits):
    """The result is float32, so the step is large enough for its rounding to drown."""
    x, boxes = spread_out(2, 3, 3, 4).to(DEVICES[backend]).requires_grad_(), BOXES.to(DEVICES[backend])
    run = lambda x: patch_uncertainty(x, boxes, from_logits=from_logits, backend=backend).double()  # noqa: E731
    assert gradcheck(run, x, eps=2e-3, atol=5e-4, rtol=0)


@on_live_devices("patch_uncertainty")
@pytest.mark.parametrize(("dtype", "from_logits"), [(torch.float32, True), (torch.bfloat16, False)])
def test_opcheck(device, from_logits, dtype):
    x = spread_out(2, 3, 4, 5).to(device, dtype).requires_grad_()
    opcheck(torch.ops.magnet_kernels.patch_uncertainty.default, (x, BOXES.to(device), from_logits))


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("patch_uncertainty")
