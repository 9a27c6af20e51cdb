"""The Triton kernels as compiled, operator by operator against the reference, bit for bit: ``pytest -m ptx``.

What machine code they become, and in how many registers: test_triton_aot.py.
"""

from __future__ import annotations

import random

import pytest
import torch
from boxes import KINDS, BoxSpec
from hypothesis import given
from hypothesis import strategies as st
from live import at_most, emulated
from strategies import DTYPES, LAYOUTS, MapSpec, kernel_sizes, maps, masks, pairs, point_counts
from tolerances import assert_close, assert_same

from magnet_kernels import _backends, _checks, _dispatcher

pytestmark = pytest.mark.ptx
pytest.importorskip("triton", reason="triton is not installed")
if emulated:
    from ptx import backends

    from magnet_kernels import triton as kernels
    from magnet_kernels.triton import launch
    from magnet_kernels.triton.median_network import median_network
    from magnet_kernels.triton.replace_points import launch_replace
    from magnet_kernels.triton.select_points import scan_kernel

    if (why := backends.why_not("triton_sm_90")) is not None:
        pytest.skip(why, allow_module_level=True)

few = at_most(8)


def run(operator: str, *arguments: object) -> object:
    return _dispatcher.overload("magnet_kernels_triton_sm_90", operator)(*arguments)


def both(operator: str, *arguments: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(Triton's, the reference's) for each result."""
    actual = run(operator, *arguments)
    expected = _backends._REFERENCES[operator](*arguments)
    if isinstance(actual, torch.Tensor):
        return [(actual, expected)]
    return list(zip(actual, expected, strict=True))


def check(operator: str, *arguments: object, close: bool = False) -> None:
    for actual, expected in both(operator, *arguments):
        (assert_close if close and actual.is_floating_point() else assert_same)(actual, expected)
        if actual.numel():
            assert _strides(actual) == _strides(expected)


def _strides(x: torch.Tensor) -> list[int]:
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1]


def test_every_operator_has_an_implementation():
    assert set(kernels.implementations) == set(_backends._REFERENCES)


# --- confidence, upsampling


@few
@given(spec=maps())
def test_confidence(spec):
    check("confidence", spec.make(), False)


@few
@given(spec=maps(contents=("normal", "ties", "flat", "special")), scale=st.sampled_from([1, 30, 200]))
def test_confidence_of_logits(spec, scale):
    check("confidence", spec.make() * scale, True, close=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_confidence_of_many_blocks(layout):
    x = MapSpec((2, 19, 23, 71), torch.float32, "special", layout, 5).make()
    check("confidence", x, False)
    check("confidence", x, True, close=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 33, 150])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_confidence_of_few_and_many_classes(dtype, classes, layout):
    x = MapSpec((1, classes, 3, 5), dtype, "normal", layout, 5).make()
    check("confidence", x, False)
    check("confidence", x, True, close=True)


def test_confidence_of_what_is_not_a_number():
    nan, inf = float("nan"), float("inf")
    pixels = [[nan, 0.2, 0.1], [0.2, 0.1, nan], [inf, inf, 0.0], [-inf, -inf, -inf], [nan, nan, nan], [inf, 0.5, 0.1]]
    x = torch.tensor([*pixels, [-inf, 0.5, 0.5], [-inf, -inf, 2.0]]).T.reshape(1, 3, 1, -1)
    assert run("confidence", x, False).flatten().tolist() == [0, 0, 0, 0, 0, inf, 0, inf]
    assert run("confidence", x, True).flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "layout"), [((9, 40), "contiguous"), ((4, 11), "channels_last"), ((5, 9), "sliced")])
@pytest.mark.parametrize("from_logits", [False, True])
def test_upsample_confidence(dtype, size, layout, from_logits):
    """The map is close; its confidence is that of the map as stored."""
    x = MapSpec((2, 5, 4, 11), dtype, "probabilities", layout, 1).make()
    (upsampled, expected), (margin, _) = both("upsample_confidence", x, *size, from_logits)
    assert_close(upsampled, expected)
    assert upsampled.stride() == expected.stride()
    stored = _backends._REFERENCES["confidence"](upsampled, from_logits)
    (assert_close if from_logits else assert_same)(margin, stored)


# --- score and median


@few
@given(data=st.data(), specs=pairs(max_channels=8), kernel_size=kernel_sizes(7))
def test_uncertainty_score(data, specs, kernel_size):
    coarse, fine = (spec.make() for spec in specs)
    mask = data.draw(masks(specs[0].shape))
    mask = mask and _checks.check_mask(mask.make(), fine)
    check("uncertainty_score", coarse, fine, mask, kernel_size, False)


@pytest.mark.parametrize("count", [9, 25])
def test_networks_find_the_median(count):
    """By the zero-one principle, on many inputs of zeros and ones (9: on all)."""
    if count == 9:
        values = (torch.arange(2**9)[:, None] >> torch.arange(9)) & 1
    else:
        g = torch.Generator().manual_seed(0)
        values = (torch.rand(200_000, count, generator=g) < 0.35 + 0.3 * torch.rand(200_000, 1, generator=g)).long()
    wires = list(values.unbind(1))
    for i, j in median_network(count):
        assert i < j
        wires[i], wires[j] = torch.minimum(wires[i], wires[j]), torch.maximum(wires[i], wires[j])
    assert torch.equal(wires[count // 2], (2 * values.sum(1) > count).long())


@few
@given(spec=maps(min_channels=1, max_channels=3, max_images=2), kernel_size=kernel_sizes(9))
def test_median_blur(spec, kernel_size):
    check("median_blur", spec.make(), kernel_size)


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 11, 13, 15])
@pytest.mark.parametrize("content", ["special", "ties", "normal"])
def test_median_of_many_blocks(kernel_size, content):
    check("median_blur", MapSpec((1, 1, 21, 150), torch.float32, content, "sliced", 3).make(), kernel_size)


def test_median_of_denormal_halves():
    x = (torch.randn(1, 1, 9, 40) * 1e-40).bfloat16()
    assert x.any()
    check("median_blur", x, 3)


# --- selection and replacement


@few
@given(data=st.data(), spec=maps(min_channels=1, max_channels=1, max_height=20))
def test_select_points(data, spec):
    score = spec.make()
    mask = data.draw(masks(spec.shape))
    mask = mask and _checks.check_mask(mask.make(), score)
    n_points = _checks.count_points(data.draw(point_counts(spec.shape)), *spec.shape[2:])
    check("select_points", score, mask, n_points)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("content", ["normal", "ties", "special", "flat"])
def test_select_points_of_many_blocks(dtype, content):
    """Thresholds inside long runs of ties; few, half and nearly all of the pixels."""
    shape = (2, 1, 47, 111)
    score = MapSpec(shape, dtype, content, "contiguous", 3).make()
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6
    for n_points in (1, 170, 3000, 5216):
        check("select_points", score, None, n_points)
        check("select_points", score, mask, n_points)


def test_order_of_special_values():
    nan, inf = float("nan"), float("inf")
    patterns = torch.tensor([0xFFC00000 - 2**32, 0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
    values = torch.tensor([nan, -inf, -1.0, -0.0, 0.0, 1.0, inf, nan, -inf, -1e-45, 1e-45])
    values = torch.cat([values, patterns]).view(1, 1, 1, -1)
    best_first = [6, 5, 10, 3, 4, 9, 2, 1, 8, 0, 7, 11, 12, 13, 14]  # -0 equals 0, NaN below -inf, equal by index
    for k in range(1, len(best_first) + 1):
        assert run("select_points", values, None, k).tolist() == [sorted(best_first[:k])]


@pytest.mark.parametrize("blocks", [1, 1024, 2500])
def test_counts_of_many_blocks_are_added_up(blocks):
    """More blocks than one step of the scan takes."""
    counts = torch.randint(0, 2048, (3, 2, blocks), dtype=torch.int32)
    expected = counts.cumsum(2) - counts
    with backends.triton_launches(random.Random(blocks)), backends.device_memory(counts):
        launch.launch(scan_kernel, 6, counts=counts, blocks=blocks, BLOCKS=1024)
    assert_same(counts, expected.int())


@few
@given(data=st.data(), specs=pairs(min_channels=1))
def test_replace_points(data, specs):
    coarse, fine = (spec.make() for spec in specs)
    n, _, h, w = specs[0].shape
    points = torch.randint(-1, h * w, (n, data.draw(st.integers(0, 40))))
    check("replace_points", coarse, fine, points)


def test_points_outside_the_map_replace_nothing():
    coarse, fine = torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)
    points = torch.tensor([[-1, 20, -2, 2**40, -(2**40), 7]])
    with backends.triton_launches(random.Random(0)), backends.device_memory(coarse, fine, points):
        launch_replace(coarse, fine, points)
    assert coarse.sum() == 3 and (coarse[0, :, 1, 2] == 1).all()


# --- everything in one step


@few
@given(data=st.data(), specs=pairs(max_channels=6, max_height=9, contents=("probabilities", "ties", "special")))
def test_refine_step(data, specs):
    coarse, fine = (spec.make() for spec in specs)
    mask = data.draw(masks(specs[0].shape))
    mask = mask and _checks.check_mask(mask.make(), fine)
    n_points = _checks.count_points(data.draw(point_counts(specs[0].shape)), *specs[0].shape[2:])
    check("refine_step", coarse, fine, mask, n_points, data.draw(kernel_sizes(7)), False)


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("contiguous", torch.float32),
        ("channels_last", torch.float32),
        ("sliced", torch.float16),
        ("transposed", torch.float32),
        ("contiguous", torch.bfloat16),
        ("channels_last", torch.bfloat16),
        ("expanded_n", torch.float64),
    ],
)
def test_refine_step_of_many_blocks(layout, dtype):
    coarse = MapSpec((2, 19, 31, 70), dtype, "probabilities", layout, 1).make()
    fine = MapSpec((2, 19, 31, 70), dtype, "special", "contiguous", 2).make()
    check("refine_step", coarse, fine, None, 500, 3, False)
    check("refine_step", coarse, fine, torch.rand(2, 1, 31, 70) < 0.5, 500, 5, False)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_refine_step_upsamples(layout, dtype):
    """Points and values are those of refine_step of the upsampled map as stored."""
    coarse = MapSpec((2, 5, 7, 20), dtype, "probabilities", layout, 1).make()
    fine = MapSpec((2, 5, 15, 40), dtype, "probabilities", "contiguous", 2).make()
    refined, points = run("refine_step", coarse, fine, None, 100, 3, False)
    stored = run("upsample_confidence", coarse, 15, 40, False)[0]
    expected, expected_points = _backends._REFERENCES["refine_step"](stored, fine, None, 100, 3, False)
    assert_same(points, expected_points)
    assert_same(refined, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_refine_step_in_place_and_out(dtype):
    fine = MapSpec((2, 5, 15, 40), dtype, "probabilities", "contiguous", 2).make()
    for layout in ("contiguous", "channels_last", "sliced"):
        coarse = MapSpec((2, 5, 15, 40), dtype, "probabilities", layout, 1).make()
        expected, expected_points = _backends._REFERENCES["refine_step"](coarse, fine, None, 100, 3, False)
        out = torch.empty_like(coarse)
        assert_same(run("refine_step_out", coarse, fine, None, 100, 3, False, out), expected_points)
        assert_same(out, expected)
        assert_same(run("refine_step_", coarse, fine, None, 100, 3, False), expected_points)
        assert_same(coarse, expected)


def test_logits_of_large_magnitude():
    """Scores of the softmax; the values replaced are the logits."""
    coarse, fine = (MapSpec((1, 7, 13, 40), torch.float32, "normal", "contiguous", s).make() * 30 for s in (1, 2))
    (score, expected), *_ = both("uncertainty_score", coarse, fine, None, 1, True)
    assert_close(score, expected)
    refined, points = run("refine_step", coarse, fine, None, 60, 1, True)
    assert_same(refined, _backends._REFERENCES["replace_points"](coarse, fine, points))


# --- patches


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("contiguous", torch.float32),
        ("channels_last", torch.float16),
        ("sliced", torch.bfloat16),
        ("contiguous", torch.float64),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_operators_on_patches(dtype, layout, kind):
    boxes = BoxSpec(4, 2, (13, 50), (6, 9), kind, torch.float32, 3).make()
    x = MapSpec((2, 5, 13, 50), dtype, "probabilities", layout, 1).make()
    patches = MapSpec((4, 5, 6, 9), dtype, "probabilities", layout, 2).make()
    check("crop_patches", x, boxes, 6, 9, True, close=True)
    check("crop_patches", x, boxes, 6, 9, False, close=True)
    check("stitch_patches", patches, boxes, 13, 50, 2)
    check("patch_uncertainty", x, boxes, False, close=True)
    check("patch_uncertainty", x, boxes.repeat(16, 1), True, close=True)


def test_a_box_that_shrinks_too_much_for_the_kernel():
    x = torch.rand(1, 2, 90, 200)
    check("crop_patches", x, torch.tensor([[0, 0, 0, 200.0, 90.0]]), 1, 2, True, close=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", ["refine_stage", "refine_stage_labels"])
def test_refine_stage(dtype, operator):
    """``coarse`` of the size to reach: an upsampled one may differ in its last bits."""
    boxes = BoxSpec(4, 2, (13, 50), (6, 9), "around", torch.float32, 3).make()
    coarse = MapSpec((2, 5, 13, 50), dtype, "probabilities", "sliced", 1).make()
    patches = MapSpec((4, 5, 6, 9), dtype, "probabilities", "contiguous", 2).make()
    check(operator, coarse, patches, boxes, 13, 50, 90, 3, False)


# --- sizes


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_offsets_of_64_bits(layout, monkeypatch):
    """The kernels for maps of 2^31 elements and more, on small ones."""
    monkeypatch.setattr(launch, "MOST_PIXELS", 8)
    coarse, fine = (MapSpec((2, 5, 9, 40), torch.float32, "probabilities", layout, s).make() for s in (1, 2))
    assert launch.wide(coarse)
    mask = torch.rand(2, 1, 9, 40) < 0.7
    check("confidence", coarse, False)
    check("refine_step", coarse, fine, mask, 90, 3, False)
    check("median_blur", coarse, 5)
    check("median_blur", coarse, 7)
    check("replace_points", coarse, fine, torch.randint(-1, 360, (2, 50)))
    (upsampled, expected), _ = both("upsample_confidence", coarse, 12, 60, False)
    assert_close(upsampled, expected)
    boxes = BoxSpec(4, 2, (9, 40), (9, 40), "around", torch.float32, 3).make()
    check("crop_patches", coarse, boxes, 6, 9, True, close=True)
    check("stitch_patches", coarse, boxes[:2], 20, 50, 2)
    check("patch_uncertainty", coarse, boxes, False, close=True)


def test_launches_depend_on_the_device_as_they_should(monkeypatch):
    """Small maps are shared out to all multiprocessors, large ones go in full blocks."""
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 132)
    device = torch.device("cpu")
    assert launch.smaller_blocks(2048, 512, 2048 * 1024, device) == 2048
    assert launch.smaller_blocks(2048, 512, 512 * 512, device) == 512
    assert launch.smaller_blocks(2048, 512, 1, device) == 512


# --- nothing to do


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (1, 2, 0, 5), (1, 2, 5, 0)])
def test_empty_maps(shape):
    x = torch.rand(shape)
    mask = torch.ones((shape[0], 1, *shape[2:]), dtype=torch.bool)
    check("confidence", x, True)
    check("uncertainty_score", x, x, mask, 3, False)
    check("median_blur", x, 7)
    check("select_points", x[:, :1], mask, min(3, shape[2] * shape[3]))
    check("refine_step", x, x, mask, min(3, shape[2] * shape[3]), 3, False)
    check("replace_points", x, x, torch.zeros(shape[0], 2, dtype=torch.int64) - 1)


def test_no_points():
    x, y = torch.rand(2, 1, 3, 4, 5).expand(2, 2, 3, 4, 5).contiguous()
    check("refine_step", x, y, None, 0, 3, False)
    check("select_points", x[:, :1], None, 0)
