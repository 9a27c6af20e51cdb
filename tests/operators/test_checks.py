"""The argument checks by themselves: what passes, and that every error names the argument and what came."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from magnet_kernels import _checks


@given(height=st.integers(0, 5000), width=st.integers(0, 5000), n=st.integers(0, 2**40))
def test_an_int_is_a_capped_count(height, width, n):
    assert _checks.count_points(n, height, width) == min(n, height * width)


@given(height=st.integers(0, 5000), width=st.integers(0, 5000), share=st.floats(0, 1, exclude_min=True))
def test_a_float_is_a_fraction(height, width, share):
    count = _checks.count_points(share, height, width)
    assert isinstance(count, int) and 0 <= count <= height * width
    assert count <= height * width * share < count + 1


def test_a_fraction_of_everything_is_everything():
    assert _checks.count_points(1.0, 1024, 2048) == 1024 * 2048
    assert _checks.count_points(1, 1024, 2048) == 1
    assert _checks.count_points(0.75, 2448, 2448) == 4494528


@pytest.mark.parametrize(
    "bad", [0.0, -0.0, 1.0000001, -1, -0.5, True, False, None, "3", [3], float("nan"), float("inf")]
)
def test_bad_n_points(bad):
    with pytest.raises(ValueError, match=r"^n_points: expected an int >= 0") as caught:
        _checks.count_points(bad, 4, 5)
    assert repr(bad) in str(caught.value) and type(bad).__name__ in str(caught.value)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9, 11, 13, 15])
def test_good_kernel_sizes(kernel_size):
    assert _checks.check_kernel_size(kernel_size) == kernel_size


@given(st.one_of(st.integers().filter(lambda k: k % 2 == 0 or not 1 <= k <= 15), st.floats(), st.text(), st.booleans()))
def test_bad_kernel_sizes(kernel_size):
    with pytest.raises(ValueError, match=r"^kernel_size: expected an odd int from 1 to 15"):
        _checks.check_kernel_size(kernel_size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_good_maps(dtype):
    _checks.check_map("x", torch.zeros(0, 1, 2, 3, dtype=dtype))
    _checks.check_map("x", torch.zeros(2, 2, 0, 3, dtype=dtype), min_channels=2)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (None, TypeError),
        ([[1.0]], TypeError),
        (1.0, TypeError),
        *((torch.zeros(1, 2, 3, 4, dtype=dtype), TypeError) for dtype in (torch.int64, torch.uint8, torch.bool)),
        (torch.zeros(1, 2, 3, 4, dtype=torch.complex64), TypeError),
        *((torch.zeros(shape), ValueError) for shape in [(), (3,), (2, 3), (2, 3, 4), (1, 2, 3, 4, 5), (1, 0, 3, 4)]),
    ],
)
def test_bad_maps(x, error):
    with pytest.raises(error, match=r"^some_name: expected .*, got .*; .") as caught:
        _checks.check_map("some_name", x)
    if isinstance(x, torch.Tensor):
        assert str(tuple(x.shape)) in str(caught.value) and str(x.dtype) in str(caught.value)


def test_two_classes_are_the_least():
    with pytest.raises(ValueError, match=r"two classes are the least"):
        _checks.check_map("x", torch.zeros(1, 1, 3, 4), min_channels=2)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (2, 4, 5), (1, 1, 4, 5), (2, 1, 4, 5)])
def test_masks_are_brought_to_one_shape_without_a_copy(shape):
    mask = torch.rand(shape) < 0.5
    result = _checks.check_mask(mask, torch.zeros(2, 3, 4, 5))
    assert result.shape == (2, 1, 4, 5) and result.data_ptr() == mask.data_ptr()
    images = mask.view(-1, 4, 5)
    assert torch.equal(result[:, 0], images.expand(2, 4, 5))


@pytest.mark.parametrize(
    "shape", [(), (5,), (5, 4), (3, 4, 5), (2, 4, 4), (0, 4, 5), (2, 3, 4, 5), (3, 1, 4, 5), (1, 2, 1, 4, 5)]
)
def test_masks_of_another_shape_are_told_as_they_were_passed(shape):
    with pytest.raises(ValueError, match=r"^mask: expected \(2, 1, 4, 5\), \(2, 4, 5\), .* or \(4, 5\), got") as caught:
        _checks.check_mask(torch.zeros(shape, dtype=torch.bool), torch.zeros(2, 3, 4, 5))
    assert f"of shape {shape} on cpu" in str(caught.value)


def test_no_mask():
    assert _checks.check_mask(None, torch.zeros(2, 3, 4, 5)) is None


@pytest.mark.parametrize("size", [(3, 4), [3, 4], torch.Size([3, 4])])
def test_good_sizes(size):
    assert _checks.check_size("size", size) == (3, 4)


@pytest.mark.parametrize("size", [3, (3,), (3, 4, 5), (0, 4), (3, -1), (3.0, 4), (True, 4), "34", None, (None, 3)])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match=r"^output_size: expected two positive ints \(H, W\), got"):
        _checks.check_size("output_size", size)


def test_boxes():
    cpu = torch.device("cpu")
    _checks.check_boxes(torch.zeros(0, 5), cpu)
    _checks.check_boxes(torch.zeros(3, 5, dtype=torch.float64), cpu)
    for bad, error in [
        ([[0, 1, 2, 3, 4]], TypeError),
        (torch.zeros(3, 5, dtype=torch.int64), TypeError),
        (torch.zeros(3, 4), ValueError),
        (torch.zeros(5), ValueError),
        (torch.zeros(3, 5, device="meta"), ValueError),
    ]:
        with pytest.raises(error, match=r"^boxes: expected"):
            _checks.check_boxes(bad, cpu)


@pytest.mark.parametrize("points", [None, [[1]], torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int32)])
def test_points_of_another_type(points):
    with pytest.raises(TypeError, match=r"^points: expected an int64 tensor"):
        _checks.check_points(points, torch.zeros(2, 3, 4, 5))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 1), ()])
def test_points_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"^points: expected"):
        _checks.check_points(torch.zeros(shape, dtype=torch.int64), torch.zeros(2, 3, 4, 5))


@pytest.mark.parametrize(
    ("coarse", "fine", "ok"),
    [
        ((4, 5), (4, 5), True),
        ((2, 5), (4, 5), True),
        ((1, 1), (4, 5), True),
        ((5, 5), (4, 5), False),
        ((2, 6), (4, 5), False),
    ],
)
def test_a_coarse_map_may_be_smaller_where_it_is_upsampled(coarse, fine, ok):
    coarse, fine = torch.zeros(1, 2, *coarse), torch.zeros(1, 2, *fine)
    if ok:
        _checks.check_pair(coarse, fine, may_upsample=True)
    else:
        with pytest.raises(ValueError, match=r"are coarse and fine swapped"):
            _checks.check_pair(coarse, fine, may_upsample=True)
    if coarse.shape != fine.shape:
        with pytest.raises(ValueError, match=r"^fine: expected the shape of coarse"):
            _checks.check_pair(coarse, fine)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Any small sizes and strides."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    return sizes, draw(st.lists(st.integers(0, 14), min_size=len(sizes), max_size=len(sizes)))


def places(sizes, strides):
    steps = itertools.product(*map(range, sizes))
    return [sum(i * s for i, s in zip(step, strides, strict=True)) for step in steps]


@given(layouts())
@example(([3, 4], [2, 1]))  # windows that slide over memory
@example(([2, 3], [3, 2]))  # neither nests in the other, and they do not meet
def test_memory_that_overlaps_itself_is_not_written_to(layout):
    offsets = places(*layout)
    x = torch.zeros(max(offsets, default=0) + 1).as_strided(*layout)
    if len(set(offsets)) == len(offsets):
        _checks.check_in_place("x", x)
    else:
        with pytest.raises(ValueError, match=r"^x: expected memory that can be written to, got .*x\.contiguous\(\)"):
            _checks.check_in_place("x", x)


@given(layouts(), st.integers(0, 12))
def test_memory_that_two_views_share_is_found(layout, distance):
    offsets = places(*layout)
    memory = torch.zeros(max(offsets, default=0) + 1 + distance)
    x, y = memory.as_strided(*layout), memory.as_strided(*layout, distance)
    if {offset + distance for offset in offsets}.isdisjoint(offsets):
        _checks.check_apart("x", x, "y", y, "copy it")
    else:
        with pytest.raises(ValueError, match=r"^x: expected memory of its own, got memory shared with y; copy it$"):
            _checks.check_apart("x", x, "y", y, "copy it")


def test_strides_that_are_too_hard_are_taken_for_an_overlap():
    """In a moment, and never the other way round."""
    x = torch.empty(1, device="meta").as_strided((997, 991, 983, 5), (7001, 7013, 7019, 7027))
    with pytest.raises(ValueError, match=r"^x: .* got a torch\.float32 tensor of shape .*which overlaps itself"):
        _checks.check_in_place("x", x)


@pytest.mark.parametrize("shape", [(1, 19, 10**12, 10**12), (10**18, 1, 3, 3), (0, 2, 2**62, 1), (1, 1, 2**64, 2)])
def test_sizes_that_nothing_can_hold(shape):
    with pytest.raises(
        ValueError, match=r"^size: expected a result of at most 2\*\*56 bytes, got 7, which makes"
    ) as caught:
        _checks.check_result("size", 7, shape, torch.float32)
    assert str(shape) in str(caught.value)
    _checks.check_result("size", 7, (1, 19, 2**20, 2**20), torch.float32)
