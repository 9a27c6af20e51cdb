"""crop_patches: boxes of a map, each resampled to one size."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import memory_crop
import pytest
import torch
import torch.nn.functional as F
from boxes import bad_boxes, box_lists, on_each_device, sizes
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, at_most, environment_of_a_program, gradcheck, live, on_live_backends, on_live_devices
from seeded import golden, probs
from strategies import DTYPES, LAYOUTS, MapSpec, lay_out, maps
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import crop_patches

each_backend = on_live_backends("crop_patches")
each_kernel = on_live_backends("crop_patches", but_not="reference")
few_examples = at_most(15)
BOXES = torch.tensor([[0, -2, 1, 7, 9], [1, 3.3, 3, 11, 8.6], [0, 4, 2, 20, 13], [1, 5, 5, 5, 5]])


def bilinear(plane: list[list[float]], y: float, x: float) -> float:
    """One sample as RoIAlign takes it: 0 more than a pixel outside, else clamped to the map."""
    h, w = len(plane), len(plane[0])
    if not (-1 <= y <= h and -1 <= x <= w):
        return 0.0
    y, x = min(max(y, 0.0), h - 1), min(max(x, 0.0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    top = plane[y0][x0] * (x0 + 1 - x) + plane[y0][x1] * (x - x0)
    low = plane[y1][x0] * (x0 + 1 - x) + plane[y1][x1] * (x - x0)
    return top * (y0 + 1 - y) + low * (y - y0)


def roi_align(x: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], aligned: bool) -> torch.Tensor:
    """RoIAlign sample by sample, in the words of its definition, in fp64."""
    shift = 0.5 if aligned else 0.0
    result = torch.zeros(len(boxes), x.shape[1], *size, dtype=torch.float64)
    for p, (image, *corners) in enumerate(boxes.tolist()):
        x0, y0, x1, y1 = (corner - shift for corner in corners)
        extent = [y1 - y0, x1 - x0] if aligned else [max(y1 - y0, 1.0), max(x1 - x0, 1.0)]
        bins = [extent[0] / size[0], extent[1] / size[1]]
        counts = [max(math.ceil(b), 0) for b in bins]
        for c, plane in enumerate(x[int(image)].double().tolist()):
            for i in range(size[0]):
                for j in range(size[1]):
                    ys = [y0 + (i + (s + 0.5) / counts[0]) * bins[0] for s in range(counts[0])]
                    xs = [x0 + (j + (s + 0.5) / counts[1]) * bins[1] for s in range(counts[1])]
                    samples = [bilinear(plane, sy, sx) for sy in ys for sx in xs]
                    result[p, c, i, j] = sum(samples) / max(len(samples), 1)
    return result


@each_backend
def test_smoke(backend):
    x = torch.arange(12.0, device=DEVICES[backend]).view(1, 1, 3, 4)
    boxes = torch.tensor([[0, 1.0, 0.0, 3.0, 2.0]], device=x.device)
    assert crop_patches(x, boxes, (2, 2), backend=backend).tolist() == [[[[1, 2], [5, 6]]]]
    assert crop_patches(x, boxes, (1, 1), backend=backend).item() == 3.5
    assert crop_patches(x, boxes, (2, 2), aligned=False, backend=backend).tolist() == [[[[3.5, 4.5], [7.5, 8.5]]]]


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "patches"), [((0, 3, 4, 5), 0), ((2, 3, 4, 5), 0), ((1, 1, 1, 1), 2), ((2, 19, 3, 17), 3)]
)
def test_cardinality(backend, dtype, shape, patches):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    boxes = torch.tensor([[0.0, 0, 0, 2, 1]], device=x.device).expand(patches, 5)
    result = crop_patches(x, boxes, (6, 7), backend=backend)
    assert result.shape == (patches, shape[1], 6, 7)
    assert result.dtype == dtype and result.device == x.device and result.is_contiguous()


@each_backend
def test_the_layout_is_that_of_the_map(backend):
    x = torch.rand(2, 3, 9, 10, device=DEVICES[backend]).contiguous(memory_format=torch.channels_last)
    boxes = BOXES.to(x.device)
    result = crop_patches(x, boxes, (4, 5), backend=backend)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert_close(result, crop_patches(x.contiguous(), boxes, (4, 5), backend=backend))


@each_backend
@pytest.mark.parametrize(("boxes", "error", "needle"), bad_boxes())
def test_bad_boxes(backend, boxes, error, needle):
    device = DEVICES[backend]
    for there in on_each_device(boxes, device):
        with pytest.raises(error, match=r"^boxes: expected .*, got") as caught:
            crop_patches(torch.rand(2, 3, 4, 5, device=device), there, (2, 2), backend=backend)
        assert needle in str(caught.value)


def test_bad_input():
    boxes = torch.zeros(1, 5)
    with pytest.raises(ValueError, match=r"^x: expected 4 dimensions"):
        crop_patches(torch.rand(3, 4, 5), boxes, (2, 2))
    with pytest.raises(ValueError, match=r"^x: expected at least one pixel"):
        crop_patches(torch.rand(1, 3, 0, 5), boxes, (2, 2))
    with pytest.raises(ValueError, match=r"^output_size: expected two positive ints"):
        crop_patches(torch.rand(1, 3, 4, 5), boxes, (2, 0))
    with pytest.raises(ValueError, match="from 0 to -1"):
        crop_patches(torch.rand(0, 3, 4, 5), boxes, (2, 2))


@each_backend
def test_golden(backend):
    x = probs("ops.Y", 2, 19, 48, 80)[:1].to(DEVICES[backend])
    boxes = torch.tensor([[0, 0, 0, 40, 24], [0, 40, 24, 80, 48], [0, 10, 5, 71, 47.5]], device=x.device)
    result = crop_patches(x, boxes, (24, 40), aligned=False, backend=backend)
    torch.testing.assert_close(result[:, ::4].cpu(), torch.from_numpy(golden("ops")["roi_align"]), rtol=0, atol=1e-6)


@each_backend
@few_examples
@given(data=st.data(), size=sizes(12), aligned=st.booleans())
def test_equals_the_definition(backend, data, size, aligned):
    spec = data.draw(maps(min_channels=1, max_channels=2, contents=("normal",), max_width=12, max_images=2))
    boxes = data.draw(box_lists(spec.shape[0], spec.shape[2:], size)).make(DEVICES[backend])
    x = spec.make(DEVICES[backend])
    result = crop_patches(x, boxes, size, aligned=aligned, backend=backend)
    exact = boxes.to(torch.promote_types(spec.dtype, torch.float32)).cpu()
    assert_close(result, roi_align(x.cpu(), exact, size, aligned).to(spec.dtype))


@each_kernel
@few_examples
@given(data=st.data(), size=sizes(70), aligned=st.booleans())
def test_equals_the_reference(backend, data, size, aligned):
    spec = data.draw(maps(min_channels=1, contents=("probabilities", "normal", "one_hot")))
    boxes = data.draw(box_lists(spec.shape[0], spec.shape[2:], size)).make(DEVICES[backend])
    x = spec.make(DEVICES[backend])
    result = crop_patches(x, boxes, size, aligned=aligned, backend=backend)
    expected = crop_patches(x, boxes, size, aligned=aligned, backend="reference")
    assert_close(result, expected)
    assert result.stride() == expected.stride()


@each_backend
@few_examples
@given(data=st.data(), size=sizes(70))
def test_whole_pixels_of_the_output_size_are_copied(backend, data, size):
    spec = data.draw(maps(min_channels=1, max_height=14))
    boxes = data.draw(box_lists(spec.shape[0], spec.shape[2:], size, kinds=("sized",))).make(DEVICES[backend])
    x = spec.make(DEVICES[backend])
    result = crop_patches(x, boxes, size, backend=backend)
    h, w = spec.shape[2:]
    for patch, box in zip(result, boxes.long().tolist(), strict=True):
        image, x0, y0, x1, y1 = box
        top, left, low, right = max(y0, 0), max(x0, 0), min(y1, h), min(x1, w)
        if top < low and left < right:
            inside = patch[:, top - y0 : low - y0, left - x0 : right - x0]
            assert_same(inside + 0, x[image, :, top:low, left:right] + 0)  # -0 is 0


@each_kernel
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(37, 32), (9, 1200)])
def test_copies_in_whole_vectors(backend, layout, size):
    """Boxes that are aligned with rows of 16 bytes, that are not, and that lie partly and wholly outside the map."""
    h, w = size
    corners = [(0, 16), (3, 17), (-5, 8), (2, -6), (20, 40), (4, 300), (-40, 0)]
    boxes = torch.tensor([[i % 2, x, y, x + w, y + h] for i, (y, x) in enumerate(corners)], device=DEVICES[backend])
    for dtype in DTYPES:
        x = MapSpec((2, 3, 40, 64), dtype, "normal", layout, 5).make(DEVICES[backend])
        result = crop_patches(x, boxes.float(), size, backend=backend)
        assert_same(result + 0, crop_patches(x, boxes.float(), size, backend="reference") + 0)


@each_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout):
    """Enlarged, shrunk and in between; several threads, full vectors and remainders."""
    boxes = torch.tensor([[0, 0, 0, 131, 67], [1, 3.3, 5.1, 60.7, 40], [1, 100, 50, 150, 90]], device=DEVICES[backend])
    for dtype, size in itertools.product(DTYPES, [(33, 200), (9, 31), (40, 45)]):
        x = MapSpec((2, 5, 67, 131), dtype, "normal", layout, 5).make(DEVICES[backend])
        assert_close(crop_patches(x, boxes, size, backend=backend), crop_patches(x, boxes, size, backend="reference"))


@each_backend
def test_nan_outside_the_box_is_not_read(backend):
    x = torch.full((1, 2, 20, 60), float("nan"), device=DEVICES[backend])
    x[:, :, 4:12, 10:42] = 1
    box = torch.tensor([[0, 10.0, 4.0, 42.0, 12.0]], device=x.device)
    assert (crop_patches(x, box, (8, 32), backend=backend) == 1).all()
    assert (crop_patches(x, box, (4, 16), backend=backend) == 1).all()


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_box_may_be_millions_of_pixels_large(backend, dtype):
    """Samples lie on every pixel, and one more beside each border has the border's value; all others are 0."""
    x = probs("huge box", 1, 3, 9, 14).to(DEVICES[backend], dtype) * 2.0**40
    side = 2.0**20
    boxes = torch.tensor([[0, -side, -side, side, side], [0, -side, 0, side, 1]], device=x.device)
    result = crop_patches(x, boxes, (1, 1), backend=backend)
    near = F.pad(x.double(), (1, 1, 1, 1), mode="replicate").cpu()
    expected = torch.stack((near.sum((0, 2, 3)) / (4 * side**2), near[0, :, 1].sum(1) / (2 * side)))[..., None, None]
    rounding = 1e-5 if dtype == torch.float32 else 8e-3
    torch.testing.assert_close(result.cpu().double(), expected, rtol=rounding, atol=0.0)
    wide = crop_patches(x, boxes[:1], (2, 64), backend=backend).cpu().double()  # all but four outputs see nothing
    assert wide.count_nonzero() == 3 * 4
    torch.testing.assert_close(wide.sum((2, 3))[0] / 128, expected[0].flatten(), rtol=rounding, atol=0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", memory_crop.CASES)
def test_the_reference_takes_little_memory_whatever_the_box(case):
    """Places for all samples of the box would be 1400 MiB, all rows between the axes 160."""
    command = [sys.executable, memory_crop.__file__, case]
    run = subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program(), timeout=120)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.split()[0]) < 64


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    x, boxes = probs("threads", 2, 5, 31, 67).to(DEVICES[backend]), BOXES.to(DEVICES[backend]) * 3 // 3
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(crop_patches(x, boxes, (17, 33), backend=backend))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@each_backend
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_gradient_against_finite_differences(backend, aligned, layout):
    x = lay_out(torch.rand(2, 1, 7, 8, dtype=torch.float64), layout).to(DEVICES[backend]).requires_grad_()
    boxes = BOXES.to(x.device)
    assert gradcheck(lambda x: crop_patches(x, boxes, (3, 4), aligned=aligned, backend=backend), x)


@on_live_devices("crop_patches")
def test_second_gradient(device):
    x = torch.rand(2, 1, 9, 10, dtype=torch.float64, device=device, requires_grad=True)
    boxes = BOXES.to(device)
    assert torch.autograd.gradgradcheck(lambda x: crop_patches(x, boxes, (4, 5)), x)


@on_live_devices("crop_patches")
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "contiguous"), (torch.bfloat16, "channels_last")])
def test_opcheck(device, dtype, layout):
    x = lay_out(torch.rand(2, 3, 9, 10), layout).to(device, dtype).requires_grad_()
    opcheck(torch.ops.magnet_kernels.crop_patches.default, (x, BOXES.to(device), 4, 5, dtype == torch.float32))


@on_live_devices("crop_patches")
def test_opcheck_backward(device):
    grad = torch.rand(4, 3, 4, 5, device=device, requires_grad=True)
    opcheck(torch.ops.magnet_kernels.crop_patches_backward.default, (grad, BOXES.to(device), 2, 9, 10, True))


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("crop_patches")
