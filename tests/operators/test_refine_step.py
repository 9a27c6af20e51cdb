"""refine_step: score, median, selection and replacement in one call, out of place and with out=."""

from __future__ import annotations

import oracle
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, dirty_memory, gradcheck, live, on_live_backends, on_live_devices
from refine_arguments import BAD_ARGUMENTS, BASE, pair
from seeded import golden, probs
from strategies import DTYPES, LAYOUTS, WRITABLE, MapSpec, kernel_sizes, lay_out, masks, pairs, point_counts
from tolerances import TOLERANCES, assert_same
from torch.library import opcheck

from magnet_kernels import refine_step

each_backend = on_live_backends("refine_step")


@each_backend
def test_smoke(backend):
    coarse, fine = pair(DEVICES[backend])
    refined, points = refine_step(coarse, fine, n_points=20, return_points=True, backend=backend)
    assert points.shape == (2, 20) and points.dtype == torch.int64
    assert_same(refined.cpu(), oracle.replace(coarse.cpu(), fine.cpu(), points))
    assert_same(refine_step(coarse, fine, n_points=20, backend=backend), refined)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "n_points", "count"),
    [
        ((0, 3, 4, 5), 3, 3),
        ((2, 3, 4, 5), 0, 0),
        ((2, 3, 4, 5), 100, 20),
        ((2, 3, 4, 5), 1.0, 20),
        ((2, 3, 4, 5), 0.26, 5),
        ((2, 3, 1, 5), 2, 2),
        ((2, 3, 5, 1), 2, 2),
        ((1, 2, 0, 5), 2, 0),
        ((1, 2, 5, 0), 2, 0),
        ((1, 2, 1, 1), 1, 1),
    ],
)
def test_cardinality(backend, dtype, shape, n_points, count):
    coarse = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    fine = coarse + 1
    before = coarse.clone()
    refined, points = refine_step(coarse, fine, n_points=n_points, return_points=True, backend=backend)
    assert refined.shape == shape and refined.dtype == dtype and points.shape == (shape[0], count)
    assert_same(coarse, before)
    if count == shape[2] * shape[3]:
        assert_same(refined, fine)
    if count == 0:
        assert_same(refined, coarse)


BAD_OUT = [
    (4, ValueError),
    (BASE[:1].clone(), ValueError),
    (BASE.double(), ValueError),
    (BASE.to("meta"), ValueError),
    (BASE[:, :, :1].expand(2, 3, 4, 5), ValueError),
]


@pytest.mark.parametrize(("changes", "error", "argument"), BAD_ARGUMENTS)
def test_bad_input(changes, error, argument):
    arguments = {"coarse": BASE, "fine": BASE, "n_points": 3, **changes}
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        refine_step(**arguments)


@pytest.mark.parametrize(("out", "error"), BAD_OUT)
def test_bad_out(out, error):
    with pytest.raises(error, match=r"^out: expected .*, got "):
        refine_step(BASE, torch.ones_like(BASE), n_points=3, out=out)


@pytest.mark.parametrize("shared", ["fine", "coarse"])
def test_out_must_not_share_memory(shared):
    maps = dict(zip(("coarse", "fine"), pair(), strict=True))
    before = {name: x.clone() for name, x in maps.items()}
    for out in (maps[shared][:], maps[shared].view_as(maps[shared])):
        with pytest.raises(ValueError, match=rf"^out: expected memory of its own, got memory shared with {shared}"):
            refine_step(**maps, n_points=3, out=out)
    for name, x in maps.items():
        assert_same(x, before[name])


def test_out_records_no_gradient():
    coarse, fine = pair()
    with pytest.raises(ValueError, match=r"^out: expected no gradient"):
        refine_step(coarse.requires_grad_(), fine, n_points=3, out=torch.empty_like(fine))
    with torch.no_grad():
        refine_step(coarse, fine, n_points=3, out=torch.empty_like(fine))


@each_backend
def test_golden(backend):
    figures = {
        name: torch.from_numpy(golden("ops")[name]) for name in ("median3", "points700_sorted", "refined_labels")
    }
    coarse, fine = (probs(f"ops.{name}", 2, 19, 48, 80).to(DEVICES[backend]) for name in ("Y", "R"))
    refined, points = refine_step(coarse, fine, n_points=700, return_points=True, backend=backend)
    labels, points = refined.argmax(1).cpu(), points.cpu()
    for image in range(2):
        ours, theirs = points[image], figures["points700_sorted"][image]
        different = torch.cat([ours[~torch.isin(ours, theirs)], theirs[~torch.isin(theirs, ours)]])
        scores = figures["median3"][image].flatten()
        assert torch.allclose(scores[different], scores[ours].min(), rtol=0, atol=1e-6), "only ties may differ"
        wrong = (labels[image] != figures["refined_labels"][image]).flatten().nonzero().flatten()
        assert torch.isin(wrong, different).all()
        assert len(different) <= 2


def check_refined(refined, points, coarse, fine, scores, k, mask):
    """Everything that refine_step promises, given the scores."""
    assert refined.shape == fine.shape and refined.dtype == coarse.dtype
    assert_same(points.cpu(), oracle.select(scores, k, mask))
    assert_same(refined.cpu(), oracle.replace(coarse.cpu(), fine.cpu(), points))


@each_backend
@given(data=st.data(), specs=pairs(max_channels=8), kernel_size=kernel_sizes(7))
def test_equals_the_oracle_bit_for_bit(backend, data, specs, kernel_size):
    """Any values, layouts, types, masks: the right points, fine's bits there and coarse's bits elsewhere."""
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    mask = data.draw(masks(specs[0].shape))
    mask = mask and mask.make(DEVICES[backend])
    n_points = data.draw(point_counts(specs[0].shape))
    before = coarse.clone(), fine.clone()
    refined, points = refine_step(
        coarse, fine, n_points=n_points, kernel_size=kernel_size, mask=mask, return_points=True, backend=backend
    )
    k = oracle.count(n_points, *specs[0].shape[2:])
    check_refined(refined, points, coarse, fine, oracle.score(coarse, fine, kernel_size, mask), k, mask)
    assert refined.stride() == torch.empty_like(coarse).stride(), "the layout follows coarse"
    assert_same(coarse, before[0])
    assert_same(fine, before[1])


@each_backend
@given(data=st.data(), specs=pairs(max_channels=6, max_images=2), out_layout=st.sampled_from(WRITABLE))
def test_out(backend, data, specs, out_layout):
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    n_points = data.draw(point_counts(specs[0].shape))
    expected, expected_points = refine_step(coarse, fine, n_points=n_points, return_points=True, backend="reference")
    out = lay_out(torch.full(coarse.shape, 7.0, dtype=coarse.dtype, device=coarse.device), out_layout)
    strides = out.stride()
    refined, points = refine_step(coarse, fine, n_points=n_points, out=out, return_points=True, backend=backend)
    assert refined is out and out.stride() == strides
    assert_same(points, expected_points)
    assert_same(out.contiguous(), expected.contiguous())


@each_backend
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_out_may_be_coarse_itself(backend, layout):
    coarse, fine = pair(DEVICES[backend])
    coarse = lay_out(coarse, layout)
    expected = refine_step(coarse, fine, n_points=30, backend=backend)
    assert refine_step(coarse, fine, n_points=30, out=coarse, backend=backend) is coarse
    assert_same(coarse, expected)


@pytest.mark.slow
@on_live_backends("refine_step", but_not="reference")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.many_blocks
def test_all_backends_choose_the_same_points(backend, dtype, kernel_size):
    """Large enough for several threads, blocks and remainders; probabilities with ties, specials, a mask."""
    shape = (2, 19, 61, 131)
    for index, layout in enumerate(LAYOUTS):
        contents = ("probabilities", "special", "ties")[index % 3], ("ties", "probabilities", "special")[index // 3]
        coarse = MapSpec(shape, dtype, contents[0], layout, index).make(DEVICES[backend])
        fine = MapSpec(shape, dtype, contents[1], LAYOUTS[-index], index + 50).make(DEVICES[backend])
        mask = (torch.rand(shape[2:]) < 0.7).to(coarse.device) if index % 2 else None
        for n_points in (100, 0.4, 1.0):
            options = {"n_points": n_points, "kernel_size": kernel_size, "mask": mask, "return_points": True}
            expected, expected_points = refine_step(coarse, fine, backend="reference", **options)
            refined, points = refine_step(coarse, fine, backend=backend, **options)
            assert_same(points, expected_points)
            assert_same(refined, expected)


@on_live_backends("refine_step", but_not="reference")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(176, 192), (180, 187)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.many_blocks
def test_images_that_many_blocks_share(backend, dtype, size, layout):
    """More pixels than a device gives to one block, with and without rows of whole 16 bytes; few, half, all of them."""
    coarse = MapSpec((1, 5, *size), dtype, "probabilities", layout, 1).make(DEVICES[backend])
    fine = MapSpec((1, 5, *size), dtype, "ties", layout, 2).make(DEVICES[backend])
    for n_points in (1000, 0.5, 1.0):
        expected, expected_points = refine_step(
            coarse, fine, n_points=n_points, return_points=True, backend="reference"
        )
        out = coarse.clone()
        _, points = refine_step(out, fine, n_points=n_points, out=out, return_points=True, backend=backend)
        assert_same(points, expected_points)
        assert_same(out, expected)


@each_backend
def test_nan_rules(backend):
    coarse, fine = pair(DEVICES[backend], (1, 4, 9, 11))
    coarse[0, 1, 3:6, 3:6] = float("nan")  # fully uncertain
    coarse[0, :, 0:3, 0:3] = 0.25
    fine[0, :, 3:6, 3:6] = fine.new_tensor([1.0, 0, 0, 0]).view(4, 1, 1)
    fine[0, 2, 0:3, 0:3] = float("nan")  # not confident at all
    refined, points = refine_step(coarse, fine, n_points=1, return_points=True, backend=backend)
    assert points.item() == 3 * 11 + 4, "the first pixel whose window is mostly of that block"
    _, points = refine_step(coarse, fine, n_points=60, return_points=True, backend=backend)
    assert not torch.isin(points.new_tensor([0, 1, 11, 12]), points).any(), "where fine is NaN the score is 0"
    assert not refined[0, :, 3, 4].isnan().any()
    lost = refine_step(torch.full_like(fine, float("nan")), fine.nan_to_num(0.1), n_points=50, backend=backend)
    assert int(lost.isnan().all(1).sum()) == 49, "a coarse map of nothing but NaN is refined all the same"


@each_backend
def test_masked_pixels_are_never_replaced(backend):
    coarse, fine = pair(DEVICES[backend])
    mask = torch.zeros(2, 1, 12, 17, dtype=torch.bool, device=coarse.device)
    mask[0, 0, 3, 4:9] = True
    refined, points = refine_step(coarse, fine, n_points=9, mask=mask, return_points=True, backend=backend)
    row = 3 * 17 + torch.arange(4, 9)
    assert points.tolist() == [[*row.tolist(), -1, -1, -1, -1], [-1] * 9]
    assert_same(refined, torch.where(mask, fine, coarse))


@each_backend
@pytest.mark.parametrize("w", [16, 17])
def test_any_byte_of_a_mask_is_true(backend, w):
    """As a view of other data may have."""
    coarse, fine = (probs(f"bytes.{part}", 1, 3, 12, w).to(DEVICES[backend]) for part in ("coarse", "fine"))
    mask = torch.zeros(1, 1, 12, w, dtype=torch.bool, device=coarse.device)
    mask[..., 3:, 5:] = True
    other = torch.where(mask, 4 + 8 * (torch.arange(w, device=mask.device) % 3), 0).to(torch.uint8).view(torch.bool)
    options = {"n_points": 60, "return_points": True, "backend": backend}
    refined, points = refine_step(coarse, fine, mask=mask, **options)
    refined_by_other, points_by_other = refine_step(coarse, fine, mask=other, **options)
    assert_same(points_by_other, points)
    assert_same(refined_by_other, refined)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_logits(backend, dtype, layout):
    """Scores are those of the softmax within rounding; the values replaced are the logits as given."""
    shape = (2, 7, 23, 37)
    coarse, fine = (MapSpec(shape, dtype, "normal", layout, seed).make(DEVICES[backend]) * 3 for seed in (1, 2))
    k = 150
    refined, points = refine_step(coarse, fine, n_points=k, from_logits=True, return_points=True, backend=backend)
    check_points_within_rounding(points, (1 - oracle.confidence(coarse, True)) * oracle.confidence(fine, True), k)
    assert_same(refined.cpu(), oracle.replace(coarse.cpu(), fine.cpu(), points))


def check_points_within_rounding(points: torch.Tensor, raw: torch.Tensor, k: int, kernel_size: int = 3) -> None:
    """Every selected score is >= every other one, but for rounding."""
    scores = oracle.median_blur(raw, kernel_size).flatten(1)
    points = points.cpu()
    assert points.shape == (len(scores), k) and (points >= 0).all() and (points.diff(dim=1) > 0).all()
    picked = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, points, True)
    lowest = scores.masked_fill(~picked, 9.0).amin(1)
    highest = scores.masked_fill(picked, -9.0).amax(1)
    assert (highest - lowest <= 2 * TOLERANCES[torch.float32][1]).all()


def check_upsampled(actual: torch.Tensor, expected: torch.Tensor, coarse: torch.Tensor) -> None:
    """Close as the table says, plus what one rounding of the source coordinates makes of the largest slope."""
    coordinates = sum(coarse.shape[2:]) * torch.finfo(torch.promote_types(coarse.dtype, torch.float32)).eps
    error = (actual.double() - expected.double()).abs() / coarse.abs().max().double().cpu()
    assert error.numel() == 0 or error.max() <= TOLERANCES[coarse.dtype][1] + coordinates


@on_live_backends("refine_step", but_not="reference")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("classes", [6, 19])
@pytest.mark.parametrize("small", [(12, 35), (24, 70)])
def test_results_do_not_depend_on_addresses(backend, dtype, from_logits, classes, small):
    """Several pixels may be read and written at once where addresses allow it, others than in another layout."""
    kind = "normal" if from_logits else "ties"
    coarse = MapSpec((2, classes, *small), dtype, kind, "contiguous", 1).make(DEVICES[backend])
    fine = MapSpec((2, classes, 24, 70), dtype, kind, "contiguous", 2).make(DEVICES[backend])
    options = {"n_points": 500, "from_logits": from_logits, "return_points": True, "backend": backend}
    refined, points = refine_step(coarse, fine, **options)
    for layout in ("misaligned", "sliced", "channels_last"):
        again, same = refine_step(lay_out(coarse, layout), lay_out(fine, layout), **options)
        if not from_logits:
            assert_same(same, points)
            assert_same(again.contiguous(), refined)
        else:  # sums of exponentials are made in another order, where a pixel is shared by lanes or classes rotate
            chosen, before = (
                oracle.replace(torch.zeros(2, 1, 24, 70), torch.ones(2, 1, 24, 70), one.cpu()).bool()
                for one in (same, points)
            )
            assert (chosen != before).sum() <= 20  # of 2 x 500
            alike = (chosen == before).expand(refined.shape)
            assert_same(again.cpu()[alike], refined.cpu()[alike])


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "transposed"])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("small", [(12, 18), (11, 7), (24, 5), (1, 1), (23, 36)])
def test_smaller_coarse_is_upsampled(backend, dtype, layout, from_logits, small):
    kind = "normal" if from_logits else "probabilities"
    coarse = MapSpec((2, 5, *small), dtype, kind, layout, 1).make(DEVICES[backend])
    size, k = (24, 37), 100
    fine = MapSpec((2, 5, *size), dtype, kind, "contiguous", 2).make(DEVICES[backend])
    mask = torch.ones(size, dtype=torch.bool, device=coarse.device)
    refined, points = refine_step(
        coarse, fine, n_points=k, from_logits=from_logits, mask=mask, return_points=True, backend=backend
    )
    wide = F.interpolate(coarse.cpu().double(), size, mode="bilinear", align_corners=False).to(dtype)
    assert refined.dtype == dtype and refined.shape == fine.shape
    picked = oracle.replace(torch.zeros_like(wide), torch.ones_like(wide), points).bool()
    assert_same(refined.cpu()[picked], fine.cpu()[picked])
    check_upsampled(refined.cpu()[~picked], wide[~picked], coarse)
    last = layout == "channels_last" and not coarse.is_contiguous()
    assert refined.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    # The scores come from the upsampled map as stored, whose last bits a backend may round in its own way.
    stored = refine_step(coarse, fine, n_points=0, backend=backend)
    assert_same(refined.cpu()[~picked], stored.cpu()[~picked])
    scores = (1 - oracle.confidence(stored, from_logits)) * oracle.confidence(fine, from_logits)
    check_points_within_rounding(points, scores, k)


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    coarse, fine = pair(DEVICES[backend], (1, 19, 67, 71))
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(refine_step(coarse, fine, n_points=500, return_points=True, backend=backend))
    for refined, points in results[1:]:
        assert_same(points, results[0][1])
        assert_same(refined, results[0][0])


@each_backend
@pytest.mark.parametrize("small", [(4, 5), (2, 3)])
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradcheck(backend, small, from_logits):
    device = DEVICES[backend]
    coarse = probs("grad.coarse", 2, 3, *small).double().to(device).requires_grad_()
    fine = probs("grad.fine", 2, 3, 4, 5).double().to(device).requires_grad_()
    mask = torch.ones(4, 5, dtype=torch.bool, device=device)
    mask[0] = False
    run = lambda c, f: refine_step(c, f, n_points=8, mask=mask, from_logits=from_logits, backend=backend)  # noqa: E731
    assert gradcheck(run, coarse, fine)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_goes_to_one_of_both(backend, dtype):
    coarse, fine = (x.requires_grad_() for x in pair(DEVICES[backend], dtype=dtype))
    refined, points = refine_step(coarse, fine, n_points=40, return_points=True, backend=backend)
    assert not points.requires_grad
    weight = torch.rand(refined.shape, device=refined.device).to(dtype)
    refined.backward(weight)
    zeros = torch.zeros(weight.shape, dtype=dtype)
    assert_same(fine.grad.cpu(), oracle.replace(zeros, weight.cpu(), points))
    assert_same(coarse.grad.cpu(), oracle.replace(weight.cpu(), zeros, points))


@on_live_devices("refine_step")
@pytest.mark.parametrize(
    ("small", "masked", "from_logits", "requires_grad"),
    [
        ((6, 7), False, False, True),
        ((6, 7), True, True, True),
        ((3, 4), True, False, True),
        ((6, 7), True, False, False),
    ],
)
def test_opcheck(device, small, masked, from_logits, requires_grad):
    coarse = probs("opcheck.coarse", 2, 3, *small).to(device).requires_grad_(requires_grad)
    fine = probs("opcheck.fine", 2, 3, 6, 7).to(device).requires_grad_(requires_grad)
    mask = (torch.rand(2, 1, 6, 7) < 0.7).to(device) if masked else None
    opcheck(torch.ops.magnet_kernels.refine_step.default, (coarse, fine, mask, 9, 3, from_logits))


@on_live_devices("refine_step_out")
@pytest.mark.parametrize("small", [(6, 7), (3, 4)])
def test_opcheck_out(device, small):
    coarse, fine = (probs(f"opcheck.{n}", 2, 3, *s).to(device) for n, s in (("coarse", small), ("fine", (6, 7))))
    opcheck(torch.ops.magnet_kernels.refine_step_out.default, (coarse, fine, None, 9, 3, False, torch.zeros_like(fine)))


def test_is_what_magnet_exports():
    import magnet

    assert magnet.refine_step is refine_step
    assert "reference" in live("refine_step")


@each_backend
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(3, 7), (9, 22), (181, 182), (181, 183), (181, 185)])
def test_what_lies_after_the_last_score_is_no_score(backend, size, kernel_size):
    """The same as in test_select_points, of keys that the median makes."""
    coarse, fine = pair(DEVICES[backend], (2, 2, *size))
    options = {"n_points": 0.5, "kernel_size": kernel_size, "return_points": True}
    _, expected = refine_step(coarse, fine, **options, backend="reference")
    dirty_memory(DEVICES[backend])
    assert_same(refine_step(coarse, fine, **options, backend=backend)[1], expected)
