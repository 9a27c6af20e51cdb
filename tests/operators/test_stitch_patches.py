"""stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from boxes import bad_boxes, box_lists, on_each_device, sizes
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, at_most, gradcheck, live, on_live_backends, on_live_devices
from strategies import DTYPES, LAYOUTS, MapSpec, lay_out, maps
from tolerances import assert_close, assert_same
from torch.library import opcheck

from magnet_kernels import crop_patches, stitch_patches

each_backend = on_live_backends("stitch_patches")
each_kernel = on_live_backends("stitch_patches", but_not="reference")
few_examples = at_most(15)
BOXES = torch.tensor([[0.0, -2, 1, 7, 9], [1, 3, 3, 11, 9], [0, 4, 2, 20, 13], [1, 2, 2, 2, 5]])


def by_interpolate(patches, boxes, size, batch_size):
    """One patch after the other onto a margin wide enough for all of them, with torch's own resize, in fp64."""
    margin = 200
    total = torch.zeros(batch_size, patches.shape[1], size[0] + 2 * margin, size[1] + 2 * margin, dtype=torch.float64)
    count = total[:, :1].clone()
    for patch, box in zip(patches.double(), boxes.double().round().long().tolist(), strict=True):
        image, x0, y0, x1, y1 = box
        if y1 > y0 and x1 > x0:
            place = (slice(margin + y0, margin + y1), slice(margin + x0, margin + x1))
            total[image][:, *place] += F.interpolate(patch[None], (y1 - y0, x1 - x0), mode="bilinear")[0]
            count[image, 0][place] += 1
    inside = (..., slice(margin, margin + size[0]), slice(margin, margin + size[1]))
    return (total / count.clamp(min=1))[inside], count[inside] > 0


@each_backend
def test_smoke(backend):
    device = DEVICES[backend]
    patches = torch.tensor([[1.0, 2.0], [5.0, 7.0]], device=device).view(2, 1, 1, 2)
    boxes = torch.tensor([[0, 0, 0, 2, 1], [0, 1, 0, 3, 1]], device=device).float()
    stitched, covered = stitch_patches(patches, boxes, (2, 4), backend=backend)
    assert stitched.tolist() == [[[[1, 3.5, 7, 0], [0, 0, 0, 0]]]]
    assert covered.tolist() == [[[[True, True, True, False], [False] * 4]]]


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "images"), [((0, 3, 4, 5), 0), ((0, 3, 4, 5), 2), ((1, 1, 1, 1), 1), ((3, 19, 3, 17), 2)]
)
def test_cardinality(backend, dtype, shape, images):
    patches = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    boxes = torch.tensor([[0.0, 1, 1, 2, 3]], device=patches.device).expand(shape[0], 5)
    stitched, covered = stitch_patches(patches, boxes, (4, 6), batch_size=images, backend=backend)
    assert stitched.shape == (images, shape[1], 4, 6) and covered.shape == (images, 1, 4, 6)
    assert stitched.dtype == dtype and stitched.device == patches.device and stitched.is_contiguous()
    assert covered.dtype == torch.bool and int(covered.sum()) == (2 if shape[0] else 0)
    assert not stitched[~covered.expand_as(stitched)].any()


@each_backend
def test_the_layout_is_that_of_the_patches(backend):
    patches = torch.rand(4, 3, 6, 8, device=DEVICES[backend]).contiguous(memory_format=torch.channels_last)
    boxes = BOXES.to(patches.device)
    stitched, covered = stitch_patches(patches, boxes, (12, 14), batch_size=2, backend=backend)
    assert stitched.is_contiguous(memory_format=torch.channels_last) and covered.is_contiguous()
    assert_close(stitched, stitch_patches(patches.contiguous(), boxes, (12, 14), batch_size=2, backend=backend)[0])


@each_backend
@pytest.mark.parametrize(("boxes", "error", "needle"), bad_boxes())
def test_bad_boxes(backend, boxes, error, needle):
    device = DEVICES[backend]
    for there in on_each_device(boxes, device):
        with pytest.raises(error, match=r"^boxes: expected .*, got") as caught:
            stitch_patches(torch.rand(1, 3, 4, 5, device=device), there, (6, 6), batch_size=2, backend=backend)
        assert needle in str(caught.value)


def test_bad_input():
    patches, boxes = torch.rand(1, 3, 4, 5), torch.zeros(1, 5)
    with pytest.raises(ValueError, match=r"^patches: expected 4 dimensions"):
        stitch_patches(patches[0], boxes, (2, 2))
    with pytest.raises(ValueError, match=r"^patches: expected at least one pixel"):
        stitch_patches(torch.rand(1, 3, 0, 5), boxes, (2, 2))
    with pytest.raises(ValueError, match=r"^boxes: expected one for each of the 1 patches"):
        stitch_patches(patches, boxes.expand(2, 5), (2, 2))
    with pytest.raises(ValueError, match=r"^size: expected two positive ints"):
        stitch_patches(patches, boxes, (2, 2.0))
    for bad in (-1, True, 1.0):
        with pytest.raises(ValueError, match=r"^batch_size: expected an int >= 0"):
            stitch_patches(patches, boxes, (2, 2), batch_size=bad)


@each_backend
@few_examples
@given(data=st.data(), size=sizes(70))
def test_equals_interpolate(backend, data, size):
    spec = data.draw(maps(min_channels=1, max_channels=3, contents=("normal",), max_height=6, max_width=20))
    images = data.draw(st.integers(1, 2))
    boxes = data.draw(box_lists(images, size, spec.shape[2:])).make(DEVICES[backend])
    patches = spec.make(DEVICES[backend])
    boxes = boxes[torch.arange(spec.shape[0], device=boxes.device) % len(boxes)] if len(boxes) else boxes
    patches = patches[: len(boxes)]
    stitched, covered = stitch_patches(patches, boxes, size, batch_size=images, backend=backend)
    expected, expected_covered = by_interpolate(patches.cpu(), boxes.cpu(), size, images)
    assert_same(covered.cpu(), expected_covered)
    if spec.dtype == torch.float32:  # torch's source positions are in the type: a few units in the last place of 70
        torch.testing.assert_close(stitched.cpu(), expected.float(), rtol=2e-5, atol=2e-5)
    else:
        assert_close(stitched, expected.to(spec.dtype))


@each_kernel
@few_examples
@given(data=st.data(), size=sizes(140))
def test_equals_the_reference_bit_for_bit(backend, data, size):
    spec = data.draw(maps(min_channels=1, contents=("probabilities", "normal", "one_hot")))
    images = data.draw(st.integers(1, 2))
    boxes = data.draw(box_lists(images, size, spec.shape[2:]).filter(lambda b: b.count > 0)).make(DEVICES[backend])
    patches = spec.make(DEVICES[backend])
    boxes = boxes[torch.arange(spec.shape[0], device=boxes.device) % len(boxes)]
    result = stitch_patches(patches, boxes, size, batch_size=images, backend=backend)
    expected = stitch_patches(patches, boxes, size, batch_size=images, backend="reference")
    for actual, wanted in zip(result, expected, strict=True):
        assert_same(
            actual + 0 if actual.is_floating_point() else actual, wanted + 0 if wanted.is_floating_point() else wanted
        )
        assert actual.stride() == wanted.stride()


@each_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["tiles", "overlapping"])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, kind):
    (h, w), (y, x), patch = (59, 157), (40, 90), (19, 67)
    boxes = torch.tensor([[0, 0, 0, x, y], [0, x, 0, w, y], [1, 0, y, x, h], [1, x, y, w, h]], device=DEVICES[backend])
    boxes = boxes.float()
    if kind == "overlapping":
        boxes = boxes + torch.tensor([0, -9.7, -3.2, 8, 5], device=boxes.device)
    for dtype in DTYPES:
        patches = MapSpec((4, 5, *patch), dtype, "normal", layout, 5).make(DEVICES[backend])
        result = stitch_patches(patches, boxes, (h, w), batch_size=2, backend=backend)
        expected = stitch_patches(patches, boxes, (h, w), batch_size=2, backend="reference")
        assert_close(result[0], expected[0])
        assert_same(result[1], expected[1])


@each_kernel
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("classes", [1, 4, 19])
@pytest.mark.parametrize("step", [(8, 144), (4, 48), (3, 44), (1, 144)])
def test_patches_of_their_boxes_size(backend, layout, classes, step, shift):
    """None, one and several of them on neighbouring pixels; side by side, and where neighbours begin elsewhere."""
    size, (h, w) = (23, 320), (8, 144)
    corners = [(y, x) for y in range(-1, 18, step[0]) for x in range(8, 300, step[1])]
    boxes = torch.tensor([[0, x + shift, y, x + shift + w, y + h] for y, x in corners], device=DEVICES[backend]).float()
    for dtype in DTYPES:
        patches = MapSpec((len(corners), classes, h, w), dtype, "normal", layout, 7).make(DEVICES[backend])
        result = stitch_patches(patches, boxes, size, backend=backend)
        expected = stitch_patches(patches, boxes, size, backend="reference")
        assert_same(result[0] + 0, expected[0] + 0)
        assert_same(result[1], expected[1])


@each_kernel
@pytest.mark.parametrize("count", [31, 33, 300])
def test_many_patches_on_the_same_pixels(backend, count):
    boxes = torch.tensor([[0.0, 4, 1, 12, 4]], device=DEVICES[backend]).expand(count, 5)
    patches = MapSpec((count, 3, 3, 8), torch.float32, "normal", "contiguous", 7).make(DEVICES[backend])
    result = stitch_patches(patches, boxes, (5, 16), backend=backend)
    expected = stitch_patches(patches, boxes, (5, 16), backend="reference")
    assert_same(result[0] + 0, expected[0] + 0)
    assert_same(result[1], expected[1])


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_are_put_back_where_they_were_cut(backend, dtype):
    x = torch.rand(2, 3, 8, 12, device=DEVICES[backend]).to(dtype)
    grid = [[n, i, j, i + 6, j + 4] for n in range(2) for i in (0, 6) for j in (0, 4)]
    boxes = torch.tensor(grid, dtype=torch.float32, device=x.device)
    patches = crop_patches(x, boxes, (4, 6), backend=backend)
    stitched, covered = stitch_patches(patches, boxes, (8, 12), batch_size=2, backend=backend)
    assert_same(stitched, x)
    assert covered.all()


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    patches, boxes = torch.rand(4, 5, 17, 33, device=DEVICES[backend]), BOXES.to(DEVICES[backend])
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(stitch_patches(patches, boxes, (31, 40), batch_size=2, backend=backend)[0])
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@each_backend
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_gradient_against_finite_differences(backend, layout):
    patches = lay_out(torch.rand(4, 2, 5, 6, dtype=torch.float64), layout).to(DEVICES[backend]).requires_grad_()
    boxes = BOXES.to(patches.device)
    run = lambda patches: stitch_patches(patches, boxes, (12, 14), batch_size=2, backend=backend)[0]  # noqa: E731
    assert gradcheck(run, patches)


@pytest.mark.slow
@on_live_devices("stitch_patches")
def test_second_gradient(device):
    patches = torch.rand(4, 1, 5, 6, dtype=torch.float64, device=device, requires_grad=True)
    boxes = BOXES.to(device)
    assert torch.autograd.gradgradcheck(lambda p: stitch_patches(p, boxes, (12, 14), batch_size=2)[0], patches)


@on_live_devices("stitch_patches")
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "contiguous"), (torch.bfloat16, "channels_last")])
def test_opcheck(device, dtype, layout):
    patches = lay_out(torch.rand(4, 3, 5, 6), layout).to(device, dtype).requires_grad_()
    opcheck(torch.ops.magnet_kernels.stitch_patches.default, (patches, BOXES.to(device), 12, 14, 2))


@on_live_devices("stitch_patches")
def test_opcheck_backward(device):
    grad = torch.rand(2, 3, 12, 14, device=device, requires_grad=True)
    opcheck(torch.ops.magnet_kernels.stitch_patches_backward.default, (grad, BOXES.to(device), 5, 6))


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("stitch_patches")
