"""Zeros and infinities: a tap of weight 0 is not read, and the sign of a zero confidence or score is +.

Every kernel gives the bits of the reference, on maps full of -0, infinities, NaN and the smallest numbers.
"""

from __future__ import annotations

import math

import pytest
import torch
from boxes import BoxSpec, box_lists
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, at_most, on_live_backends
from strategies import DTYPES, LAYOUTS, MapSpec
from tolerances import assert_close, assert_same
from torch import Tensor

from magnet_kernels import (
    confidence,
    crop_patches,
    refine_stage,
    refine_step,
    stitch_patches,
    uncertainty_score,
    upsample_confidence,
)

INF = math.inf
WRITTEN = tuple(layout for layout in LAYOUTS if not layout.startswith("expanded"))
examples = at_most(40)


def each_kernel(operator: str) -> pytest.MarkDecorator:
    return on_live_backends(operator, but_not="reference")


@st.composite
def edges(
    draw: st.DrawFn, n: int, c: int, size: tuple[int, int], dtype: torch.dtype, content: str = "edges"
) -> MapSpec:
    """A map of zeros of both signs, infinities and NaN, some or all; "edges": of subnormals and other numbers, too."""
    return MapSpec((n, c, *size), dtype, content, draw(st.sampled_from(WRITTEN)), draw(st.integers(0, 2**16)))


dtypes = st.sampled_from(DTYPES)
counts = st.integers(1, 2)
classes = st.integers(2, 7)
small_sizes = st.tuples(st.integers(1, 6), st.integers(1, 22))


@st.composite
def larger(draw: st.DrawFn, size: tuple[int, int]) -> tuple[int, int]:
    """Whole factors, where every second or third row and column lies on a pixel of the smaller map, and others."""
    factor = draw(st.sampled_from([2, 2, 3, 1, 5]))
    whole = size[0] * factor, size[1] * factor
    return draw(
        st.sampled_from([whole, (size[0], whole[1]), (whole[0], size[1]), (whole[0] + 1, whole[1] + 1), (13, 71)])
    )


def not_smaller(size: tuple[int, int], than: tuple[int, int]) -> tuple[int, int]:
    return max(size[0], than[0]), max(size[1], than[1])


def assert_no_negative_zero(x: Tensor) -> None:
    assert not ((x == 0) & x.signbit()).any()


# --- what the rule says, in numbers


def of_one_row(values: list[float], backend: str) -> Tensor:
    """(1, 2, 1, W): the values, and a second class of ones."""
    x = torch.tensor(values, device=DEVICES[backend]).view(1, 1, 1, -1)
    return torch.cat([x, torch.ones_like(x)], 1)


@on_live_backends("upsample_confidence")
def test_an_infinity_does_not_spread_to_where_it_has_no_weight(backend):
    for x, size in ((of_one_row([0.5, INF], backend), (1, 4)), (of_one_row([0.5, INF], backend).mT, (4, 1))):
        upsampled, _ = upsample_confidence(x, size, backend=backend)
        assert upsampled[0, 0].flatten().tolist() == [0.5, INF, INF, INF]
    upsampled, _ = upsample_confidence(of_one_row([INF, 0.5, -INF], backend), (1, 9), backend=backend)
    values = upsampled[0, 0].flatten().tolist()
    assert values[:4] == [INF] * 4 and values[4] == 0.5 and values[5:] == [-INF] * 4


@on_live_backends("upsample_confidence")
def test_negative_zero_stays(backend):
    for size in ((1, 2), (2, 4), (3, 6), (5, 7)):
        upsampled, _ = upsample_confidence(of_one_row([-0.0, -0.0], backend), size, backend=backend)
        assert upsampled[0, 0].signbit().all(), size


@on_live_backends("refine_stage")
def test_negative_zero_stays_through_a_stage(backend):
    x = of_one_row([-0.0, -0.0], backend)
    none = x.new_empty(0, 2, 1, 1), torch.empty(0, 5)
    for size in ((1, 2), (2, 4), (3, 6), (5, 7)):
        assert refine_stage(x, *none, size, n_points=0, backend=backend)[0, 0].signbit().all(), size


@on_live_backends("stitch_patches")
def test_a_resized_patch_with_an_infinity(backend):
    patch = of_one_row([-INF, 0.5, 0.25], backend)
    box = torch.tensor([[0.0, 0, 0, 6, 1]], device=patch.device)
    stitched, _ = stitch_patches(patch, box, (1, 6), backend=backend)
    assert stitched[0, 0, 0].tolist() == [-INF, -INF, -INF, 0.4375, 0.3125, 0.25]
    coarse = torch.full((1, 2, 1, 6), 0.5, device=patch.device)
    refined = refine_stage(coarse, patch, box, (1, 6), n_points=6, kernel_size=1, backend=backend)
    assert_same(refined, stitched)


@on_live_backends("stitch_patches")
def test_negative_zero_stays_where_patches_overlap_and_not_where_there_are_none(backend):
    patches = torch.full((2, 1, 2, 4), -0.0, device=DEVICES[backend])
    boxes = torch.tensor([[0.0, 0, 0, 4, 2], [0, 2, 0, 6, 2]], device=patches.device)
    stitched, covered = stitch_patches(patches, boxes, (3, 8), backend=backend)
    assert (stitched.signbit() == covered).all()


@on_live_backends("crop_patches")
def test_a_crop_reads_what_has_weight_alone(backend):
    x = of_one_row([-0.0, -0.0, -0.0, INF], backend)
    boxes = torch.tensor([[0.0, 0, 0, 3, 1], [0, 0.5, 0, 2.5, 1], [0, 0, 0, 2, 1]], device=x.device)
    for size in ((1, 1), (1, 2), (1, 3), (2, 4)):
        crops = crop_patches(x, boxes, size, backend=backend)[1:, 0]
        assert crops.signbit().all() and (crops == 0).all(), size
    outside = torch.tensor([[0.0, -9, -9, -5, -5]], device=x.device)
    assert_same(crop_patches(x, outside, (3, 2), backend=backend), x.new_zeros(1, 2, 3, 2))


@on_live_backends("confidence")
def test_confidence_is_never_negative_zero(backend):
    pixels = [[-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0], [0.0, 0.0], [INF, INF], [1.0, 1.0]]
    for classes in (2, 3, 19):
        x = torch.full((1, classes, 1, len(pixels)), -1.0, device=DEVICES[backend])
        x[:, :2] = torch.tensor(pixels, device=x.device).T.view(1, 2, 1, -1)
        for layout in (x, x.contiguous(memory_format=torch.channels_last)):
            for dtype in DTYPES:
                result = confidence(layout.to(dtype), backend=backend)
                assert_same(result, torch.zeros_like(result))


@on_live_backends("uncertainty_score")
def test_score_is_never_negative_zero(backend):
    """Where coarse's margin is above 1 the first factor is negative; where fine's is 0 the product would be -0."""
    coarse = torch.tensor([3.0, 0.5], device=DEVICES[backend]).view(1, 2, 1, 1).expand(1, 2, 3, 5).contiguous()
    fine = torch.full_like(coarse, 0.5)
    for kernel_size in (1, 3):
        score = uncertainty_score(coarse, fine, kernel_size=kernel_size, backend=backend)
        assert_same(score, torch.zeros_like(score))


# --- properties: the bits of the reference


@each_kernel("confidence")
@examples
@given(data=st.data(), n=counts, c=st.integers(2, 20), size=small_sizes, dtype=dtypes)
def test_confidence(backend, data, n, c, size, dtype):
    x = data.draw(edges(n, c, size, dtype)).make(DEVICES[backend])
    assert_same(confidence(x, backend=backend), confidence(x, backend="reference"))
    assert_no_negative_zero(confidence(x, from_logits=True, backend=backend))


@each_kernel("uncertainty_score")
@examples
@given(
    data=st.data(), n=counts, c=classes, size=small_sizes, dtype=dtypes, kernel_size=st.sampled_from([1, 3, 5]),
    scale=st.sampled_from([1, 3]),
)  # fmt: skip
def test_uncertainty_score(backend, data, n, c, size, dtype, kernel_size, scale):
    coarse, fine = (data.draw(edges(n, c, size, dtype)).make(DEVICES[backend]) * scale for _ in range(2))
    score = uncertainty_score(coarse, fine, kernel_size=kernel_size, backend=backend)
    assert_same(score, uncertainty_score(coarse, fine, kernel_size=kernel_size, backend="reference"))
    assert_no_negative_zero(score)


@each_kernel("upsample_confidence")
@examples
@given(data=st.data(), n=counts, c=classes, size=small_sizes, dtype=dtypes)
def test_upsample_confidence(backend, data, n, c, size, dtype):
    x = data.draw(edges(n, c, size, dtype)).make(DEVICES[backend])
    to = data.draw(larger(size))
    result = upsample_confidence(x, to, backend=backend)
    for actual, expected in zip(result, upsample_confidence(x, to, backend="reference"), strict=True):
        assert_same(actual, expected)


@each_kernel("refine_step")
@examples
@given(data=st.data(), n=counts, c=classes, size=small_sizes, dtype=dtypes, kernel_size=st.sampled_from([1, 3]))
def test_refine_step_of_a_smaller_map(backend, data, n, c, size, dtype, kernel_size):
    coarse = data.draw(edges(n, c, size, dtype)).make(DEVICES[backend])
    to = not_smaller(data.draw(larger(size)), size)
    fine = data.draw(edges(n, c, to, dtype)).make(DEVICES[backend])
    options = {"n_points": 0.3, "kernel_size": kernel_size, "return_points": True}
    result = refine_step(coarse, fine, **options, backend=backend)
    for actual, expected in zip(result, refine_step(coarse, fine, **options, backend="reference"), strict=True):
        assert_same(actual, expected)


def some_boxes(data: st.DataObject, images: int, size: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Patches kept as they are, made 2 and 3 times as large, and others."""
    factor = data.draw(st.sampled_from([1, 2, 3, None]))
    if factor is None:
        return data.draw(box_lists(images, size, patch)).make()
    large = patch[0] * factor, patch[1] * factor
    return BoxSpec(3, images, size, large, "sized", torch.float32, data.draw(st.integers(0, 2**16))).make()


@each_kernel("stitch_patches")
@examples
@given(data=st.data(), images=counts, c=st.integers(1, 5), patch=small_sizes, dtype=dtypes)
def test_stitch_patches(backend, data, images, c, patch, dtype):
    size = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 70)))
    boxes = some_boxes(data, images, size, patch).to(DEVICES[backend])
    patches = data.draw(edges(len(boxes), c, patch, dtype)).make(DEVICES[backend])
    result = stitch_patches(patches, boxes, size, batch_size=images, backend=backend)
    expected = stitch_patches(patches, boxes, size, batch_size=images, backend="reference")
    assert_same(result[0], expected[0])
    assert_same(result[1], expected[1])


@each_kernel("refine_stage")
@examples
@given(data=st.data(), images=counts, c=classes, patch=small_sizes, small=small_sizes, dtype=dtypes)
def test_refine_stage(backend, data, images, c, patch, small, dtype):
    size = not_smaller(data.draw(larger(small)), small)
    boxes = some_boxes(data, images, size, patch)
    coarse = data.draw(edges(images, c, small, dtype)).make(DEVICES[backend])
    patches = data.draw(edges(len(boxes), c, patch, dtype)).make(DEVICES[backend])
    options = {"n_points": 0.3, "kernel_size": data.draw(st.sampled_from([1, 3])), "return_points": True}
    for labels_only in (False, True):
        given_ = {**options, "labels_only": labels_only}
        result = refine_stage(coarse, patches, boxes, size, **given_, backend=backend)
        expected = refine_stage(coarse, patches, boxes, size, **given_, backend="reference")
        assert_same(result[1], expected[1])
        assert_same(result[0], expected[0])


@each_kernel("crop_patches")
@examples
@given(data=st.data(), n=counts, c=st.integers(1, 5), size=small_sizes, dtype=dtypes, aligned=st.booleans())
def test_crop_patches(backend, data, n, c, size, dtype, aligned):
    output = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 40)))
    boxes = data.draw(box_lists(n, size, output)).make(DEVICES[backend])
    for content in ("extremes", "edges"):
        x = data.draw(edges(n, c, size, dtype, content)).make(DEVICES[backend])
        result = crop_patches(x, boxes, output, aligned=aligned, backend=backend)
        expected = crop_patches(x, boxes, output, aligned=aligned, backend="reference")
        if content == "edges" and backend.startswith("triton"):  # which adds up sample by sample, not pixel by pixel
            assert_close(result, expected)
        else:
            assert_same(result, expected)


@pytest.mark.slow
@each_kernel("upsample_confidence")
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_enough_for_every_code_path(backend, dtype, factor):
    """Rows of several vectors and blocks, in planes and in pixels."""
    for layout in ("contiguous", "channels_last"):
        h, w = 7, 333
        x = MapSpec((2, 5, h, w), dtype, "edges", layout, factor).make(DEVICES[backend])
        to = h * factor, w * factor
        result = upsample_confidence(x, to, backend=backend)
        for actual, expected in zip(result, upsample_confidence(x, to, backend="reference"), strict=True):
            assert_same(actual, expected)
        fine = MapSpec((2, 5, *to), dtype, "edges", layout, factor + 9).make(DEVICES[backend])
        options = {"n_points": 100, "return_points": True}
        result = refine_step(x, fine, **options, backend=backend)
        for actual, expected in zip(result, refine_step(x, fine, **options, backend="reference"), strict=True):
            assert_same(actual, expected)


# --- gradients


@on_live_backends("upsample_confidence")
def test_no_gradient_goes_to_a_tap_without_weight(backend):
    device = DEVICES[backend]
    for bad in (INF, math.nan):
        x = torch.rand(1, 2, 1, 3, device=device, requires_grad=True)
        grad = torch.ones(1, 2, 1, 9, device=device)
        grad[..., 4] = bad  # lies on the second pixel
        upsample_confidence(x, (1, 9), backend=backend)[0].backward(grad)
        assert x.grad[..., ::2].isfinite().all() and not x.grad[..., 1].isfinite().any()

        box = torch.tensor([[0.0, 0, 0, 9, 1]], device=device)
        patch = torch.rand(1, 2, 1, 3, device=device, requires_grad=True)
        stitch_patches(patch, box, (1, 9), backend=backend)[0].backward(grad)
        assert patch.grad[..., ::2].isfinite().all() and not patch.grad[..., 1].isfinite().any()

        x = torch.rand(1, 2, 1, 3, device=device, requires_grad=True)
        grad = torch.ones(1, 2, 1, 3, device=device)
        grad[..., 1] = bad
        box = torch.tensor([[0.0, 0, 0, 3, 1]], device=device)
        crop_patches(x, box, (1, 3), backend=backend).backward(grad)
        assert x.grad[..., ::2].isfinite().all() and not x.grad[..., 1].isfinite().any()
