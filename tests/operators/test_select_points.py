"""select_points: the K highest scores of each image, ties to the lowest index, ascending."""

from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, dirty_memory, on_live_backends, on_live_devices
from seeded import golden
from strategies import DTYPES, LAYOUTS, MapSpec, maps, masks, point_counts
from tolerances import assert_same
from torch.library import opcheck

from magnet_kernels import select_points

each_backend = on_live_backends("select_points")
scores = maps(min_channels=1, max_channels=1, max_height=20)


def row(values: list[float], backend: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=DEVICES[backend]).view(1, 1, 1, -1)


@each_backend
def test_smoke(backend):
    result = select_points(row([0.1, 0.9, 0.3, 0.9, 0.2], backend), 3, backend=backend)
    assert result.tolist() == [[1, 2, 3]] and result.dtype == torch.int64


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "n_points", "count"),
    [
        ((0, 1, 4, 5), 3, 3),
        ((2, 1, 4, 5), 0, 0),
        ((2, 1, 4, 5), 7, 7),
        ((2, 1, 4, 5), 20, 20),
        ((2, 1, 4, 5), 21, 20),
        ((2, 1, 4, 5), 1.0, 20),
        ((2, 1, 4, 5), 0.5, 10),
        ((2, 1, 4, 5), 0.01, 0),
        ((3, 1, 0, 5), 4, 0),
        ((3, 1, 0, 5), 0.5, 0),
        ((1, 1, 1, 1), 1, 1),
    ],
)
def test_cardinality(backend, dtype, shape, n_points, count):
    result = select_points(torch.rand(shape, device=DEVICES[backend]).to(dtype), n_points, backend=backend)
    assert result.shape == (shape[0], count) and result.dtype == torch.int64 and result.is_contiguous()


@pytest.mark.parametrize(
    "n_points", [0.0, -0.5, 1.5, True, False, -1, None, "10", float("nan"), float("inf"), torch.tensor(3), 3 + 0j]
)
def test_bad_n_points(n_points):
    with pytest.raises(ValueError, match=r"^n_points: expected an int >= 0 .*, got "):
        select_points(torch.zeros(1, 1, 4, 4), n_points)


@pytest.mark.parametrize(
    ("score", "mask", "error", "argument"),
    [
        ([1.0], None, TypeError, "score"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int32), None, TypeError, "score"),
        (torch.zeros(4, 4), None, ValueError, "score"),
        (torch.zeros(1, 2, 4, 4), None, ValueError, "score"),
        (torch.zeros(1, 1, 4, 4), torch.ones(4, 4), TypeError, "mask"),
        (torch.zeros(1, 1, 4, 4), torch.ones(4, 5, dtype=torch.bool), ValueError, "mask"),
        (torch.zeros(1, 1, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool), ValueError, "mask"),
    ],
)
def test_bad_input(score, mask, error, argument):
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        select_points(score, 3, mask=mask)


@each_backend
def test_golden(backend):
    """The same points, but where the release took another one of several pixels with the very last score."""
    score, expected = (torch.from_numpy(golden("ops")[name]) for name in ("median3", "points700_sorted"))
    result = select_points(score.to(DEVICES[backend]), 700, backend=backend).cpu()
    assert result.shape == expected.shape
    for values, ours, theirs in zip(score.flatten(1), result, expected, strict=True):
        different = torch.cat([ours[~torch.isin(ours, theirs)], theirs[~torch.isin(theirs, ours)]])
        assert (values[different] == values[ours].min()).all()
        assert_same(values[ours].sort().values, values[theirs].sort().values)


@each_backend
@given(data=st.data(), spec=scores)
def test_equals_the_oracle(backend, data, spec):
    score = spec.make(DEVICES[backend])
    mask = data.draw(masks(spec.shape))
    mask = mask and mask.make(DEVICES[backend])
    n_points = data.draw(point_counts(spec.shape))
    result = select_points(score, n_points, mask=mask, backend=backend)
    assert_same(result.cpu(), oracle.select(score, oracle.count(n_points, *spec.shape[2:]), mask))


@each_backend
@given(data=st.data(), spec=scores)
def test_properties(backend, data, spec):
    """What the words promise, without any other implementation."""
    score = spec.make(DEVICES[backend])
    mask = data.draw(masks(spec.shape))
    mask = mask and mask.make(DEVICES[backend])
    k = data.draw(st.integers(0, spec.shape[2] * spec.shape[3]))
    points = select_points(score, k, mask=mask, backend=backend)
    assert points.shape == (spec.shape[0], k)
    valid = torch.ones_like(score, dtype=torch.bool) if mask is None else mask.expand(score.shape)
    for values, allowed, chosen in zip(score.flatten(1), valid.flatten(1), points, strict=True):
        enough = min(k, int(allowed.sum()))
        assert (chosen[enough:] == -1).all(), "the row ends in -1 where valid pixels run out"
        chosen = chosen[:enough]
        assert (chosen.diff() > 0).all(), "ascending, none twice"
        assert allowed[chosen].all(), "only valid pixels"
        picked = torch.zeros_like(allowed).index_fill(0, chosen, True)
        left = (allowed & ~picked).nonzero().flatten()
        if not enough or not len(left):
            continue
        for index in chosen.tolist():
            a, others = values[index], values[left]
            worse_or_equal = (others <= a) | others.isnan()
            assert worse_or_equal.all(), "every selected score is >= every other one"
            equal = (others == a) | (others.isnan() & a.isnan())
            assert (left[equal] > index).all(), "ties go to the lowest index"


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_order_of_special_values(backend, dtype):
    nan, inf = float("nan"), float("inf")
    values = row([nan, -inf, -1.0, -0.0, 0.0, 1.0, inf, nan, -inf], backend, dtype)
    best_first = [6, 5, 3, 4, 2, 1, 8, 0, 7]  # -0 equals 0, NaN below -inf, equal ones by index
    for k in range(len(best_first) + 1):
        assert select_points(values, k, backend=backend).tolist() == [sorted(best_first[:k])]


@each_backend
def test_nan_of_either_sign_and_any_payload_ranks_lowest(backend):
    patterns = torch.tensor(
        [0x7FC00000, 0xFFC00000 - 2**32, 0x7F800001, 0xFF800001 - 2**32, 0x7FFFFFFF, -1], dtype=torch.int32
    )
    values = torch.cat([patterns.view(torch.float32), torch.tensor([float("-inf"), -3.0])]).to(DEVICES[backend])
    assert select_points(values.view(1, 1, 1, -1), 3, backend=backend).tolist() == [[0, 6, 7]]


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("content", ["normal", "ties", "special", "flat", "probabilities"])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, dtype, content):
    """Many pixels, several threads; thresholds inside long runs of ties; few, half and nearly all of the pixels."""
    shape, counts = (97, 167), (1, 170, 8000, 16198)
    shape = (2, 1, *shape)
    score = MapSpec(shape, dtype, content, "contiguous", 3).make(DEVICES[backend])
    mask = (torch.rand(shape) < 0.6).to(score.device)
    for n_points in counts:
        for valid in (None, mask):
            result = select_points(score, n_points, mask=valid, backend=backend)
            assert_same(result.cpu(), oracle.select(score, n_points, valid))


@each_backend
@pytest.mark.parametrize("content", ["normal", "ties", "special", "flat", "narrow"])
@pytest.mark.parametrize("shape", [(2, 1, 190, 177), (4, 1, 131, 127)], ids=["two", "four"])
@pytest.mark.many_blocks
def test_images_that_many_blocks_share(backend, content, shape):
    """More pixels than a device gives to one block, in few images and more; scores that differ in their last bits."""
    pixels = shape[2] * shape[3]
    score = MapSpec(shape, torch.float32, "normal" if content == "narrow" else content, "contiguous", 4).make("cpu")
    if content == "narrow":
        score = 1.0 + (score * 100).round() * 2.0**-22
    score = score.to(DEVICES[backend])
    mask = (torch.rand(shape) < 0.6).to(score.device)
    for n_points in (1, 1000, 16000, pixels):
        for valid in (None, mask):
            result = select_points(score, n_points, mask=valid, backend=backend)
            assert_same(result.cpu(), oracle.select(score, n_points, valid))


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (9, 22), (127, 129), (128, 128), (113, 145), (181, 183)])
def test_what_lies_after_the_last_score_is_no_score(backend, size, dtype):
    """Kernels read scores or keys several at a time: beyond a number of them that is no multiple, others may lie."""
    spec = MapSpec((2, 1, *size), dtype, "normal", "contiguous", 3)
    score = spec.make(DEVICES[backend])
    expected = oracle.select(score, (size[0] * size[1] + 1) // 2)
    dirty_memory(DEVICES[backend])
    assert_same(select_points(score, expected.shape[1], backend=backend).cpu(), expected)


@each_backend
@pytest.mark.parametrize("few", [0, 1, 3, 4, 5, 6, 40])
@pytest.mark.parametrize("usual", [0.0, 0.25, float("nan")])
def test_flat_areas_with_a_few_other_scores(backend, few, usual):
    """Blocks of one score, or of few others, are counted in ways of their own."""
    score = torch.full((1, 1, 64, 96), usual)
    places = torch.arange(few) * 131 + 7
    score.view(-1)[places] = torch.linspace(0.2, 0.9, few) if few != 4 else torch.tensor([0.9, 0.2, 0.9, 0.2])
    for n_points in (1, 2, 4, 5, 100, 64 * 96 - 1):
        points = select_points(score.to(DEVICES[backend]), n_points, backend=backend).cpu()
        assert points.tolist() == oracle.select(score, n_points).tolist()


@each_backend
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, layout):
    score = MapSpec((3, 1, 31, 67), torch.float32, "normal", layout, 9).make(DEVICES[backend])
    assert_same(select_points(score, 200, backend=backend).cpu(), oracle.select(score, 200))


@each_backend
@pytest.mark.parametrize("spread", [1e-44, 1e-30, 1e-7, 1.0, 1e30])
def test_scores_of_any_magnitude(backend, spread):
    """Nearly equal, tiny and huge scores, positive and negative."""
    g = torch.Generator().manual_seed(1)
    score = (torch.randint(-500, 500, (1, 1, 50, 60), generator=g) * spread).float().to(DEVICES[backend])
    score = score + (1.0 if spread == 1e-7 else 0.0)
    assert_same(select_points(score, 777, backend=backend).cpu(), oracle.select(score, 777))


@each_backend
def test_images_are_independent(backend):
    score = torch.rand(4, 1, 20, 30, device=DEVICES[backend])
    together = select_points(score, 50, backend=backend)
    for image in range(4):
        assert_same(together[image : image + 1], select_points(score[image : image + 1], 50, backend=backend))


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    score = (torch.rand(1, 1, 211, 307, device=DEVICES[backend]) * 50).round()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(select_points(score, 12345, backend=backend))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@each_backend
def test_the_choice_carries_no_gradient(backend):
    score = torch.rand(1, 1, 4, 5, device=DEVICES[backend], requires_grad=True)
    assert not select_points(score, 3, backend=backend).requires_grad


@on_live_devices("select_points")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n_points", [0, 7, 20])
def test_opcheck(device, masked, n_points):
    score = torch.rand(2, 1, 4, 5, device=device)
    mask = (torch.rand(2, 1, 4, 5, device=device) < 0.5) if masked else None
    opcheck(torch.ops.magnet_kernels.select_points.default, (score, mask, n_points))
