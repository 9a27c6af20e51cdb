"""refine_stage: from a smaller map and patches to the refined map of a scale, or to its labels alone."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import memory_stage
import oracle
import pytest
import torch
from boxes import bad_boxes, box_lists, on_each_device
from hypothesis import given
from hypothesis import strategies as st
from live import (
    DEVICES,
    at_most,
    environment_of_a_program,
    gradcheck,
    live,
    on_live_backends,
    on_live_devices,
)
from seeded import probs
from strategies import DTYPES, MapSpec, kernel_sizes, lay_out, maps, point_counts
from tolerances import TOLERANCES, assert_close, assert_same
from torch import Tensor
from torch.library import opcheck

from magnet_kernels import refine_stage, refine_step, stitch_patches, upsample_confidence

each_backend = on_live_backends("refine_stage")
each_kernel = on_live_backends("refine_stage", but_not="reference")
BOXES = torch.tensor([[0.0, -2, 1, 7, 9], [1, 3, 3, 11, 9], [0, 4, 2, 20, 13], [1, 2, 2, 2, 5]])  # overlaps, one empty
SIZE = (12, 14)
LAYOUTS = ("contiguous", "channels_last", "sliced", "sliced_channels_last", "transposed", "misaligned", "expanded_n")


def composed(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    from_logits: bool = False,
    backend: str = "reference",
    **options: object,
) -> tuple[Tensor, Tensor]:
    """What refine_stage means, operator by operator."""
    if from_logits:
        wide = torch.promote_types(patches.dtype, torch.float32)
        patches = patches.to(wide).softmax(1).to(patches.dtype)
    upsampled = upsample_confidence(coarse, size, backend=backend)[0]
    boxes = boxes.to(patches.device)
    fine, covered = stitch_patches(patches, boxes, size, batch_size=coarse.shape[0], backend=backend)
    return refine_step(upsampled, fine, mask=covered, return_points=True, backend=backend, **options)


def inputs(device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    coarse, patches = probs("stage.coarse", 2, 3, 5, 7), probs("stage.patches", 4, 3, 5, 6)
    return coarse.to(device, dtype), patches.to(device, dtype), BOXES.to(device)


@each_backend
def test_smoke(backend):
    device = DEVICES[backend]
    coarse = torch.tensor([0.5, 0.75], device=device).view(1, 1, 1, 2)
    coarse = torch.cat([coarse, 1 - coarse], 1)
    patches = torch.tensor([0.0, 1.0], device=device).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    boxes = torch.tensor([[0.0, 0, 0, 2, 1]])
    options = {"n_points": 1, "kernel_size": 1, "return_points": True, "backend": backend}
    refined, points = refine_stage(coarse, patches, boxes, (1, 4), **options)
    assert points.tolist() == [[0]], "the least certain of the two pixels that the patch covers"
    assert refined[0, 1].tolist() == [[1.0, 0.4375, 0.3125, 0.25]]
    labels, points = refine_stage(coarse, patches, boxes, (1, 4), labels_only=True, **options)
    assert labels.tolist() == [[[1, 0, 0, 0]]] and labels.dtype == torch.uint8
    assert points.tolist() == [[0]]


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("images", "patches", "n_points", "count"),
    [(0, 0, 3, 3), (2, 0, 3, 3), (2, 4, 0, 0), (2, 4, 1000, 168), (2, 4, 1.0, 168), (1, 1, 0.1, 16), (3, 1, 7, 7)],
)
def test_cardinality(backend, dtype, images, patches, n_points, count):
    device = DEVICES[backend]
    coarse, fine = torch.rand(images, 5, 5, 7, device=device).to(dtype), torch.rand(patches, 5, 3, 4, device=device)
    boxes = torch.tensor([[0.0, 1, 2, 9, 8]]).expand(patches, 5)
    run = lambda **options: refine_stage(  # noqa: E731
        coarse, fine.to(dtype), boxes, SIZE, n_points=n_points, return_points=True, backend=backend, **options
    )
    refined, points = run()
    assert refined.shape == (images, 5, *SIZE) and refined.dtype == dtype and refined.is_contiguous()
    assert points.shape == (images, count) and points.dtype == torch.int64
    assert int((points >= 0).sum()) == (min(count, 48) if patches else 0)
    labels, again = run(labels_only=True)
    assert labels.shape == (images, *SIZE) and labels.dtype == torch.uint8 and labels.is_contiguous()
    assert_same(again, points)
    alone = refine_stage(coarse, fine.to(dtype), boxes, SIZE, n_points=n_points, backend=backend)
    assert_same(alone, refined)


@each_backend
def test_without_patches_it_only_upsamples(backend):
    coarse = probs("stage.coarse", 2, 3, 5, 7).to(DEVICES[backend])
    none = coarse.new_empty(0, 3, 4, 4), torch.empty(0, 5)
    refined, points = refine_stage(coarse, *none, SIZE, n_points=5, return_points=True, backend=backend)
    assert_close(refined, upsample_confidence(coarse, SIZE, backend="reference")[0])
    assert (points == -1).all()
    labels = refine_stage(coarse, *none, SIZE, n_points=5, labels_only=True, backend=backend)
    assert_same(labels, refined.argmax(1).to(torch.uint8))
    assert_same(refine_stage(coarse, *none, (5, 7), n_points=0, backend=backend), coarse)


BASE = torch.zeros(2, 3, 4, 5)
PATCHES = torch.zeros(1, 3, 2, 2)
BOX = torch.tensor([[0.0, 0, 0, 2, 2]])
BAD_ARGUMENTS = [
    ({"coarse": "map"}, TypeError, "coarse"),
    ({"coarse": BASE.int()}, TypeError, "coarse"),
    ({"coarse": BASE[0]}, ValueError, "coarse"),
    ({"coarse": BASE[:, :1]}, ValueError, "coarse"),
    ({"coarse": BASE[:, :, :0]}, ValueError, "coarse"),
    ({"patches": None}, TypeError, "patches"),
    ({"patches": PATCHES.double()}, TypeError, "patches"),
    ({"patches": PATCHES.to("meta")}, ValueError, "patches"),
    ({"patches": PATCHES[:, :2]}, ValueError, "patches"),
    ({"patches": PATCHES[:, :, :0]}, ValueError, "patches"),
    ({"patches": PATCHES[:0]}, ValueError, "boxes"),
    ({"boxes": BOX.expand(2, 5)}, ValueError, "boxes"),
    ({"boxes": BOX.to("meta")}, ValueError, "boxes"),
    *(({"size": bad}, ValueError, "size") for bad in ((4, 5.0), (0, 5), 7, None, (3, 5), (4, 4))),
    *(({"n_points": bad}, ValueError, "n_points") for bad in (0.0, 1.5, True, -1, None)),
    *(({"kernel_size": bad}, ValueError, "kernel_size") for bad in (0, 2, 17, 3.0)),
    ({"backend": "gpu"}, ValueError, "backend"),
]


@pytest.mark.parametrize("labels_only", [False, True])
@pytest.mark.parametrize(("changes", "error", "argument"), BAD_ARGUMENTS)
def test_bad_input(changes, error, argument, labels_only):
    arguments = {"coarse": BASE, "patches": PATCHES, "boxes": BOX, "size": (6, 6), "n_points": 3, **changes}
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        refine_stage(**arguments, labels_only=labels_only)


@each_backend
@pytest.mark.parametrize(("boxes", "error", "needle"), bad_boxes())
def test_bad_boxes(backend, boxes, error, needle):
    device = DEVICES[backend]
    for labels_only, there in itertools.product((False, True), on_each_device(boxes, device)):
        with pytest.raises(error, match=r"^boxes: expected .*, got") as caught:
            refine_stage(
                BASE.to(device),
                PATCHES.to(device),
                there,
                (6, 6),
                n_points=3,
                labels_only=labels_only,
                backend=backend,
            )
        assert needle in str(caught.value)


@each_backend
def test_labels_have_room_for_256_classes(backend):
    device = DEVICES[backend]
    coarse = torch.zeros(1, 256, 2, 2, device=device)
    coarse[:, 255] = 1
    none = coarse.new_empty(0, 256, 2, 2), torch.empty(0, 5)
    assert (refine_stage(coarse, *none, (3, 3), n_points=1, labels_only=True, backend=backend) == 255).all()
    coarse = torch.zeros(1, 257, 2, 2, device=device)
    none = coarse.new_empty(0, 257, 2, 2), torch.empty(0, 5)
    with pytest.raises(ValueError, match=r"^labels_only: expected at most 256 classes.*, got "):
        refine_stage(coarse, *none, (3, 3), n_points=1, labels_only=True, backend=backend)
    assert refine_stage(coarse, *none, (3, 3), n_points=1, backend=backend).shape == (1, 257, 3, 3)


@st.composite
def stages(draw: st.DrawFn, contents: tuple[str, ...]) -> tuple:
    """(coarse, patches, boxes, size, options): overlaps, gaps, boxes outside the map, several images, no patches."""
    patches = draw(maps(contents=contents, max_channels=7, max_images=5, max_height=9, max_width=40))
    n, c = draw(st.integers(1, 3)), patches.shape[1]
    size = draw(st.tuples(st.integers(1, 14), st.integers(1, 70)))
    small = draw(st.integers(1, size[0])), draw(st.integers(1, size[1]))
    if draw(st.booleans()):
        small = size
    coarse = MapSpec(
        (n, c, *small),
        patches.dtype,
        draw(st.sampled_from(contents)),
        draw(st.sampled_from(LAYOUTS)),
        draw(st.integers(0, 2**16)),
    )
    boxes = draw(box_lists(n, size, patches.shape[2:]))
    count = min(boxes.count, patches.shape[0])
    options = {"n_points": draw(point_counts((n, c, *size))), "kernel_size": draw(kernel_sizes(7))}
    return coarse, patches, boxes, count, size, options


def made(stage: tuple, device: str) -> tuple[tuple, dict]:
    coarse, patches, boxes, count, size, options = stage
    return (coarse.make(device), patches.make(device)[:count], boxes.make()[:count], size), options


@on_live_backends("refine_stage", but_not="reference")
@given(stage=stages(("probabilities", "ties", "one_hot", "special")))
def test_equals_the_composition_bit_for_bit(backend, stage):
    """Of the same backend's operators: the same points and the same bits of every value."""
    arguments, options = made(stage, DEVICES[backend])
    expected, expected_points = composed(*arguments, backend=backend, **options)
    before = arguments[0].clone(), arguments[1].clone()
    refined, points = refine_stage(*arguments, **options, return_points=True, backend=backend)
    assert_same(points, expected_points)
    assert_same(refined, expected)
    labels, again = refine_stage(*arguments, **options, labels_only=True, return_points=True, backend=backend)
    assert_same(again, points)
    assert_same(labels.cpu(), expected.cpu().argmax(1).to(torch.uint8))
    assert_same(arguments[0], before[0])
    assert_same(arguments[1], before[1])


@each_backend
@given(stage=stages(("probabilities", "ties", "one_hot")))
def test_promises(backend, stage):
    """Only covered pixels are replaced, as many as wanted or all of them; the labels are those of the map."""
    arguments, options = made(stage, DEVICES[backend])
    coarse, patches, boxes, size = arguments
    refined, points = refine_stage(*arguments, **options, return_points=True, backend=backend)
    fine, covered = stitch_patches(
        patches, boxes.to(coarse.device), size, batch_size=coarse.shape[0], backend="reference"
    )
    upsampled = upsample_confidence(coarse, size, backend="reference")[0]
    k = oracle.count(options["n_points"], *size)
    chosen = [row[row >= 0] for row in points.cpu()]
    assert [len(row) for row in chosen] == [min(k, int(c.sum())) for c in covered.cpu()]
    picked = torch.zeros(coarse.shape[0], size[0] * size[1], dtype=torch.bool)
    for image, row in enumerate(chosen):
        assert (row.diff() > 0).all() and covered.cpu()[image].flatten()[row].all()
        picked[image, row] = True
    picked = picked.view(-1, 1, *size).expand(refined.shape)
    wide = refined.cpu().double()
    slack = TOLERANCES[coarse.dtype][1] + 300 * torch.finfo(torch.float32).eps  # positions are rounded, too
    assert ((wide - fine.cpu().double())[picked].abs() <= slack).all()
    assert ((wide - upsampled.cpu().double())[~picked].abs() <= slack).all()
    labels = refine_stage(*arguments, **options, labels_only=True, backend=backend)
    assert_same(labels.cpu(), refined.cpu().argmax(1).to(torch.uint8))


@each_kernel
@given(stage=stages(("probabilities", "ties", "one_hot")))
def test_same_size_equals_the_reference_bit_for_bit(backend, stage):
    """Where coarse is not resized, no rounding depends on the backend."""
    coarse, *rest = stage
    arguments, options = made((coarse.like(shape=(*coarse.shape[:2], *stage[4])), *rest), DEVICES[backend])
    expected = refine_stage(*arguments, **options, return_points=True, backend="reference")
    actual = refine_stage(*arguments, **options, return_points=True, backend=backend)
    assert_same(actual[1], expected[1])
    assert_same(actual[0] + 0, expected[0] + 0)  # a zero may have either sign
    expected = refine_stage(*arguments, **options, labels_only=True, backend="reference")
    assert_same(refine_stage(*arguments, **options, labels_only=True, backend=backend), expected)


@each_kernel
@at_most(15)
@given(stage=stages(("normal",)))
def test_logits_equal_the_reference_within_rounding(backend, stage):
    coarse, *rest = stage
    coarse = coarse.like(shape=(*coarse.shape[:2], *stage[4]), content="probabilities")
    arguments, options = made((coarse, *rest), DEVICES[backend])
    options["n_points"] = 1.0  # every covered pixel: no choice depends on the last bit
    for from_logits in (False, True):
        options |= {"from_logits": from_logits, "return_points": True}
        actual, points = refine_stage(*arguments, **options, backend=backend)
        expected, expected_points = refine_stage(*arguments, **options, backend="reference")
        assert_same(points, expected_points)
        assert_close(actual, expected)


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", ["tiles", "overlapping", "resized"])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, dtype, layout, from_logits, kind):
    (h, w), (ph, pw), (x, y), classes, n_points = (59, 611), (17, 203), (90, 40), 19, 9000
    boxes = torch.tensor([[0, 0, 0, x, y], [0, x, 0, w, y], [1, 0, y, x, h], [1, x + 7, y, w - 11, h]]).float()
    if kind == "overlapping":
        boxes = boxes + torch.tensor([0, -9.7, -3.2, 8, 5])
    elif kind == "tiles":
        corners = ((0, 0, 0), (0, pw, 9), (1, 2 * pw - 1, h - ph))
        boxes = torch.tensor([[n, x, y, x + pw, y + ph] for n, x, y in corners]).float()
    size, device = (h, w), DEVICES[backend]
    coarse = MapSpec((2, classes, (h + 1) // 2, (w + 1) // 2), dtype, "probabilities", layout, 1).make(device)
    shape = (len(boxes), classes, ph, pw)
    patches = MapSpec(shape, dtype, "normal" if from_logits else "probabilities", layout, 2).make(device) * 2
    options = {"n_points": n_points, "from_logits": from_logits, "return_points": True}
    refined, points = refine_stage(coarse, patches, boxes, size, backend=backend, **options)
    expected, expected_points = composed(
        coarse, patches, boxes, size, from_logits=from_logits, n_points=n_points, backend=backend
    )
    if not from_logits:
        assert_same(points, expected_points)
        assert_same(refined, expected)
    else:  # softmax is rounded in its own way by each backend
        swapped = (points != expected_points).float().mean()
        assert swapped < 0.02
        close = (refined.double() - expected.double()).abs().amax(1) <= TOLERANCES[dtype][1]
        assert close.float().mean() > 0.97
    last = layout == "channels_last"
    assert refined.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    labels, again = refine_stage(coarse, patches, boxes, size, labels_only=True, backend=backend, **options)
    assert_same(again, points)
    assert_same(labels.cpu(), refined.cpu().argmax(1).to(torch.uint8))


@each_kernel
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("small", [(9, 68), (18, 136), (7, 50)])
def test_results_do_not_depend_on_addresses(backend, dtype, from_logits, small):
    """Patches of their boxes' size may be read and maps written several pixels at once where addresses allow it."""
    size, device = (18, 136), DEVICES[backend]
    corners = [[0, 0, 0], [0, 32, 0], [0, 63, 5], [0, 96, 9], [1, 4, 1], [1, 38, -2], [1, 70, 8], [1, 108, 10]]
    boxes = torch.tensor([[n, x, y, x + 32, y + 9] for n, x, y in corners]).float()
    boxes = torch.cat([boxes, boxes.new_tensor([[1, 4, 11, 36, 16], [1, 100, 0, 116, 9]])])  # made lower, narrower
    coarse = MapSpec((2, 6, *small), dtype, "ties", "contiguous", 4).make(device)
    patches = MapSpec((10, 6, 9, 32), dtype, "normal" if from_logits else "ties", "contiguous", 5).make(device)
    options = {"n_points": 900, "from_logits": from_logits, "return_points": True, "backend": backend}
    refined, points = refine_stage(coarse, patches, boxes, size, **options)
    labels, _ = refine_stage(coarse, patches, boxes, size, labels_only=True, **options)
    assert_same(labels, refined.argmax(1).to(torch.uint8))
    for layout in ("misaligned", "transposed", "channels_last"):
        given = lay_out(coarse, layout), lay_out(patches, layout), boxes, size
        again, same = refine_stage(*given, **options)
        assert_same(same, points)
        assert_same(again.contiguous(), refined)
        assert_same(refine_stage(*given, labels_only=True, **options)[0], labels)
    if not from_logits:
        expected, expected_points = composed(coarse, patches, boxes, size, backend=backend, n_points=900)
        assert_same(points, expected_points)
        assert_same(refined, expected)


@each_backend
def test_nan_rules(backend):
    coarse, patches, boxes = inputs(DEVICES[backend])
    nan = float("nan")
    coarse[0, 1] = nan  # fully uncertain: refined wherever fine is sure
    refined, points = refine_stage(coarse, patches, boxes, SIZE, n_points=168, return_points=True, backend=backend)
    picked = points[0][points[0] >= 0]
    assert not refined[0].flatten(1)[:, picked].isnan().any() and len(picked) < 168
    labels = refine_stage(coarse, patches, boxes, SIZE, n_points=168, labels_only=True, backend=backend)
    left = torch.ones(168, dtype=torch.bool, device=coarse.device)
    left[picked] = False
    assert (labels[0].flatten()[left] == 1).all(), "a NaN counts as the highest"
    coarse[:], patches[:, 2] = 1 / 3, nan  # not confident at all
    _, points = refine_stage(coarse, patches, boxes, SIZE, n_points=5, return_points=True, backend=backend)
    covered = stitch_patches(patches, boxes, SIZE, batch_size=2, backend="reference")[1]
    first = [c.flatten().nonzero().flatten()[:5].tolist() for c in covered]
    assert points.tolist() == first, "all scores are 0: the first covered pixels"


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_of_nan_and_ties(backend, dtype):
    """The first NaN, else the lowest class of the highest value, as torch.argmax."""
    coarse = MapSpec((2, 6, 9, 67), dtype, "special", "contiguous", 3).make(DEVICES[backend])
    coarse[1] = (coarse[1] > 0.3).to(dtype)
    none = coarse.new_empty(0, 6, 2, 2), torch.empty(0, 5)
    labels = refine_stage(coarse, *none, (9, 67), n_points=0, labels_only=True, backend=backend)
    wide = coarse.cpu().double()
    highest = wide.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    highest = torch.where(wide.isnan(), torch.inf, torch.where(wide == torch.inf, 1e30, highest))
    first = (highest == highest.amax(1, keepdim=True)).int() * torch.arange(6, 0, -1).view(1, 6, 1, 1)
    assert_same(labels.cpu(), (6 - first.amax(1)).to(torch.uint8))


@each_backend
def test_does_not_depend_on_the_number_of_threads(backend, restore_threads):
    coarse, patches, boxes = inputs(DEVICES[backend])
    boxes = boxes * boxes.new_tensor([1, 4, 4, 4, 4])
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(refine_stage(coarse, patches, boxes, (50, 61), n_points=300, backend=backend))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("small", [(3, 5), (7, 9)])
def test_gradcheck(backend, from_logits, small):
    device = DEVICES[backend]
    coarse = probs("stage.grad", 2, 3, *small).double().to(device).requires_grad_()
    patches = probs("stage.patches", 4, 3, 5, 6).double().to(device).requires_grad_()
    run = lambda c, p: refine_stage(  # noqa: E731
        c, p, BOXES, (7, 9), n_points=25, from_logits=from_logits, backend=backend
    )
    assert gradcheck(run, coarse, patches)


@each_backend
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradient_equals_that_of_the_composition(backend, from_logits):
    gradients = []
    for run in (refine_stage, composed):
        coarse, patches = (x.requires_grad_() for x in inputs(DEVICES[backend])[:2])
        options = {"n_points": 50, "from_logits": from_logits, "backend": backend}
        refined = run(coarse, patches, BOXES, SIZE, **options)
        refined = refined[0] if isinstance(refined, tuple) else refined
        refined.backward(probs("stage.weight", *refined.shape).to(refined.device))
        gradients.append((coarse.grad, patches.grad))
    for ours, theirs in zip(*gradients, strict=True):
        assert_close(ours, theirs)


@each_backend
def test_labels_and_points_carry_no_gradient(backend):
    coarse, patches, boxes = inputs(DEVICES[backend])
    options = {"n_points": 9, "return_points": True, "backend": backend}
    for labels_only in (False, True):
        result, points = refine_stage(
            coarse.requires_grad_(), patches.requires_grad_(), boxes, SIZE, labels_only=labels_only, **options
        )
        assert not points.requires_grad and result.requires_grad is not labels_only


@on_live_devices("refine_stage")
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, "contiguous"), (torch.bfloat16, "channels_last")])
def test_opcheck(device, dtype, layout, from_logits):
    coarse, patches, boxes = inputs(device, dtype)
    arguments = (lay_out(coarse, layout), lay_out(patches, layout), boxes, *SIZE, 30, 3, from_logits)
    opcheck(torch.ops.magnet_kernels.refine_stage_labels.default, arguments)
    arguments = (arguments[0].requires_grad_(), arguments[1].requires_grad_(), *arguments[2:])
    opcheck(torch.ops.magnet_kernels.refine_stage.default, arguments)


@on_live_devices("refine_stage")
@pytest.mark.parametrize("labels_only", [False, True])
def test_compiles_to_one_graph(device, labels_only):
    torch.compiler.reset()
    coarse, patches, boxes = inputs(device)

    def run(c: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        return refine_stage(c, p, boxes, SIZE, n_points=0.3, labels_only=labels_only, return_points=True)

    for actual, expected in zip(
        torch.compile(run, fullgraph=True, backend="aot_eager")(coarse, patches), run(coarse, patches), strict=True
    ):
        assert_same(actual, expected)
        assert actual.stride() == expected.stride()


@on_live_devices("refine_stage")
def test_boxes_may_lie_on_the_cpu(device):
    coarse, patches, boxes = inputs(device)
    expected = refine_stage(coarse, patches, boxes, SIZE, n_points=40)
    assert_same(refine_stage(coarse, patches, boxes.cpu(), SIZE, n_points=40), expected)
    assert_same(refine_stage(coarse, patches, boxes.cpu().double(), SIZE, n_points=40), expected)


@pytest.mark.skipif("cpu" not in live("refine_stage"), reason="the compiled CPU kernels are not live here")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize("case", ["labels", "labels_logits", "refined"])
def test_memory(case):
    """Labels take no map of probabilities: two score maps, a byte a pixel of labels and one of what is covered."""
    environment = environment_of_a_program(MALLOC_MMAP_THRESHOLD_="65536")
    command = [sys.executable, memory_stage.__file__, case]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    maps = float(run.stdout.split()[0])
    assert maps < 2 + 0.5 + 0.5, run.stdout  # of H * W float32 each, scratch memory included; a map of classes is 8


def test_is_tested_on_the_reference_at_least():
    assert "reference" in live("refine_stage") and "reference" in live("refine_stage_labels")
