from __future__ import annotations

import dataclasses
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from live import at_most
from PIL import Image
from seeded import probs, rand, seed_module
from torch import Tensor, nn

from magnet import MagNet, MagNetError, RefinementModule, refine_step
from magnet.images.tensors import normalize, resize, to_tensor
from magnet.walk.grid import count_covered, patch_grid
from magnet.walk.look import choose_boxes, look
from magnet.walk.maps import labels_at
from magnet.walk.paper import paper_walk
from magnet.walk.plan import count_patches
from magnet.walk.traced import traced_walk
from magnet_kernels import confidence

SCALES = [(12, 16), (24, 32), (50, 62)]


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # fastest for tensors this small


class Local(nn.Module):
    """A segmenter of one convolution: a patch's interior looks the same in any patch around it."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, num_classes, 3, padding=1)
        seed_module(self, "local.")

    def forward(self, images: Tensor) -> Tensor:
        return 6 * self.conv(images)


def build(refiner: object = "shared", **changes: object) -> MagNet:
    if refiner == "shared":
        refiner = seed_module(RefinementModule(3), "shared.")
    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 0.4, **changes}
    return MagNet(Local(), refiner, **arguments)  # type: ignore[arg-type]


def image_of(height: int = 50, width: int = 62, n: int = 1) -> Tensor:
    coarse = F.interpolate(rand("model.image", n, 3, 9, 11), (height, width), mode="bilinear", align_corners=False)
    return normalize(0.7 * coarse + 0.3 * rand("model.grain", n, 3, height, width))


def plain_walk(model: MagNet, image: Tensor) -> Tensor:
    """The walk over all patches, in plain torch, whole maps at a time."""
    known = model.segmenter(resize(image, model.input_size)).softmax(1)
    for scale, (height, width) in enumerate(model.scales[1:], start=1):
        known = F.interpolate(known, (height, width), mode="bilinear", align_corners=False)
        scaled, total, count = resize(image, (height, width)), torch.zeros_like(known), torch.zeros(height, width)
        for x0, y0, x1, y1 in patch_grid((height, width), model.patch_size):
            seen = resize(scaled[..., y0:y1, x0:x1], model.input_size)
            fine = model.segmenter(seen).softmax(1)
            refiner = model.refiner_at(scale)
            if refiner is not None:
                fine = refiner(fine, resize(known[..., y0:y1, x0:x1], model.input_size)).softmax(1)
            total[..., y0:y1, x0:x1] += resize(fine, model.patch_size)
            count[y0:y1, x0:x1] += 1
        n_points = model.n_points
        known = refine_step(known, total / count, n_points=n_points, kernel_size=model.kernel_size)
    return F.interpolate(known, model.scales[-1], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("refiner", ["shared", None])
@pytest.mark.parametrize("size", [(50, 62), (77, 40), (20, 110)])
def test_walk_does_what_the_paper_says(refiner: str | None, size: tuple[int, int]) -> None:
    model, image = build(refiner).eval(), image_of(*size)
    with torch.no_grad():
        expected = plain_walk(model, image)
    refined = model(image)
    assert refined.shape == (1, 3, 50, 62) and refined.dtype == torch.float32
    same = ((refined - expected).abs() < 1e-5).all(dim=1).float().mean()
    assert same > 0.995  # rounding may swap a few points of nearly equal score
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, 50, 62))


@at_most(20)
@given(data=st.data())
def test_any_sizes(data: st.DataObject) -> None:
    sides = [sorted(data.draw(st.sets(st.integers(3, 40), min_size=3, max_size=3))) for _ in range(2)]
    scales = list(zip(*sides, strict=True))
    patch_size = tuple(data.draw(st.integers(1, side[1])) for side in sides)
    model = build(
        None,
        scales=scales,
        patch_size=patch_size,
        input_size=data.draw(st.sampled_from([None, (8, 11)])),
        n_points=data.draw(st.sampled_from([0, 7, 0.5, 1.0])),
        n_patches=data.draw(st.sampled_from([None, 2])),
    )
    image = image_of(data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    refined = model(image)
    assert refined.shape == (1, 3, *scales[-1])
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, *scales[-1]))
    if model.n_points == 1.0 and model.n_patches is None:
        with torch.no_grad():
            torch.testing.assert_close(refined, plain_walk(model.eval(), image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("input_size", [(8, 11), (2, 11), (8, 3)])
def test_input_larger_than_the_scales(input_size: tuple[int, int]) -> None:
    """The map of the first scale is kept at its size, whatever the networks see: the second may be smaller still."""
    model = build(None, scales=[(3, 3), (4, 4), (9, 9)], patch_size=(3, 4), input_size=input_size, n_points=0).eval()
    image = image_of(9, 9)
    small = resize(image, (3, 3))
    with torch.no_grad():
        known = model.segmenter(resize(small, input_size)).softmax(1)
        known = resize(known, (min(3, input_size[0]), min(3, input_size[1])))
        for size in model.scales[1:]:
            known = F.interpolate(known, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(image), known, rtol=0, atol=1e-5)
    traced = traced_walk(model, model.settings, model.plan(image.shape[-2:]), image)
    torch.testing.assert_close(traced, known, rtol=0, atol=1e-5)


def test_count_of_points_is_per_scale() -> None:
    model, image = build(n_points=100).eval(), image_of()
    stages = model.predict(_unit(image), return_stages=True).stages
    assert [len(stage.points) for stage in stages[1:]] == [100, 100]
    with torch.no_grad():
        expected = plain_walk(model, image)
    assert ((model(image) - expected).abs() < 1e-5).all(dim=1).float().mean() > 0.995


@pytest.mark.parametrize("input_size", [(24, 32), (6, 8)])
def test_networks_see_their_input_size(input_size: tuple[int, int]) -> None:
    model, image, seen = build(None, input_size=input_size, n_points=1.0).eval(), image_of(), []
    model.segmenter.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape[-2:])))
    refined = model(image)
    assert set(seen) == {input_size}
    with torch.no_grad():
        torch.testing.assert_close(refined, plain_walk(model, image), rtol=0, atol=1e-5)


def test_all_points_without_refiner_is_the_sliding_window() -> None:
    model = build(None, scales=[(12, 16), (24, 32)], n_points=1.0)
    image = image_of(24, 32)
    patches = [
        model.segmenter(image[..., y0:y1, x0:x1]).softmax(1) for x0, y0, x1, y1 in patch_grid((24, 32), (12, 16))
    ]
    whole = torch.cat([torch.cat(patches[:2], 2), torch.cat(patches[2:], 2)], 3)
    torch.testing.assert_close(model(image), whole.detach(), rtol=0, atol=1e-6)


def test_fast_takes_the_most_uncertain_patches_and_touches_nothing_else() -> None:
    model = build(n_patches=3)
    coarse, first, second = model.predict(_unit(image_of()), return_stages=True).stages
    assert len(coarse.boxes) == 0 and coarse.points is None
    for before, after, size in ((coarse, first, (24, 32)), (first, second, (50, 62))):
        known = F.interpolate(before.probabilities[None], size, mode="bilinear", align_corners=False)
        uncertainty = 1 - confidence(known)[0, 0]
        grid = patch_grid(size, (12, 16))
        mean = torch.tensor([float(uncertainty[y0:y1, x0:x1].mean()) for x0, y0, x1, y1 in grid])
        assert sorted(map(tuple, after.boxes)) == sorted(grid[i] for i in mean.topk(3).indices)
        inside = torch.zeros(size, dtype=torch.bool)
        for x0, y0, x1, y1 in after.boxes:
            inside[y0:y1, x0:x1] = True
        assert len(after.points) == int(0.4 * inside.sum())  # of the pixels of the chosen patches
        changed = ((after.probabilities - known[0]).abs() > 1e-6).any(dim=0)
        replaced = torch.zeros(size, dtype=torch.bool)
        replaced.view(-1)[torch.as_tensor(after.points)] = True
        assert (replaced <= inside).all() and (changed <= replaced).all() and changed.any()


def test_fast_with_every_patch_is_the_whole_walk() -> None:
    model, image = build(), image_of()
    whole = model(image)
    torch.testing.assert_close(model.with_settings(n_patches=[4, 1000])(image), whole, rtol=0, atol=0)


@pytest.mark.parametrize("n_points", [0.4, 300, 5000])
def test_a_fast_stage_is_what_its_operators_give(n_points: int | float) -> None:
    model, image = build(n_patches=2, kernel_size=5, n_points=n_points).eval(), image_of()
    before, after = model.predict(_unit(image), return_stages=True).stages[1:]
    known = F.interpolate(before.probabilities[None], (50, 62), mode="bilinear", align_corners=False)
    fine, count = torch.zeros_like(known), torch.zeros(1, 1, 50, 62)
    assert len(after.boxes) == 2
    with torch.inference_mode():
        # the refined patches of the grid, of which the walk looks at two
        every = model.settings.changed(n_patches=None)
        boxes, looked_at = look(model, every, model.plan((8, 8)), known, resize(image, (50, 62)), 2)
        grid = [tuple(map(int, box[1:])) for box in boxes[0].tolist()]
        patches = looked_at[[grid.index(box) for box in after.boxes]]
        for patch, (x0, y0, x1, y1) in zip(patches, after.boxes, strict=True):
            fine[0, :, y0:y1, x0:x1] += patch
            count[..., y0:y1, x0:x1] += 1
        n_covered = int((count > 0).sum())
        assert count_covered(after.boxes) == n_covered
        expected, points = refine_step(
            known,
            fine / count.clamp(min=1),
            n_points=int(0.4 * n_covered) if n_points == 0.4 else n_points,
            kernel_size=5,
            mask=count > 0,
            return_points=True,
        )
    assert after.points.tolist() == points[points >= 0].tolist()
    torch.testing.assert_close(after.probabilities[None], expected, rtol=0, atol=1e-5)


@given(
    boxes=st.lists(
        st.tuples(*[st.integers(0, 12)] * 4).map(
            lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
        ),
        max_size=6,
    )
)
def test_count_covered(boxes: list[tuple[int, int, int, int]]) -> None:
    covered = torch.zeros(13, 13, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] = True
    assert count_covered(boxes) == int(covered.sum())


@pytest.mark.parametrize("scales", [SCALES, SCALES[-1:]])
@pytest.mark.parametrize("n_patches", [None, 3])
@pytest.mark.parametrize("size", [(50, 62), (40, 70)])
def test_labels_without_probabilities(
    scales: list[tuple[int, int]], n_patches: int | None, size: tuple[int, int]
) -> None:
    """The same labels, whether they come from the map of the last scale or in its place."""
    model, image = build(scales=scales, n_patches=n_patches), _unit(image_of(*size))
    expected = model.predict(image)
    ours = model.predict(image, probabilities=False)
    assert ours.probabilities is None and ours.labels.dtype == torch.int64
    assert torch.equal(ours.labels, expected.labels)
    with pytest.raises(ValueError, match="probabilities=False"):
        _ = ours.uncertainty
    kept = model.predict(image, probabilities=False, return_stages=True)
    assert kept.probabilities is None and torch.equal(kept.labels, expected.labels)
    assert len(kept.stages) == len(scales)


def test_labels_without_probabilities_as_the_release_does() -> None:
    model, image = build(compat="official", scales=[(24, 32), (48, 64)]), _unit(image_of())
    ours = model.predict(image, probabilities=False)
    assert ours.probabilities is None and torch.equal(ours.labels, model.predict(image).labels)


def test_ties_go_to_the_first_patch() -> None:
    known = torch.full((1, 3, 24, 32), 1 / 3)
    grid = patch_grid((24, 32), (12, 16))
    for count in (2, 0, 4):
        boxes = choose_boxes(known.expand(2, 3, 24, 32), grid, count)
        assert boxes.shape == (2, count, 5)
        for image in range(2):
            assert [tuple(box) for box in boxes[image].tolist()] == [(image, *box) for box in grid[:count]]


def test_no_patches_leave_the_coarse_prediction() -> None:
    model, image = build(n_patches=0), image_of()
    coarse = F.interpolate(model.segment(resize(image, (12, 16))), (24, 32), mode="bilinear", align_corners=False)
    coarse = F.interpolate(coarse, (50, 62), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(image), coarse.detach(), rtol=0, atol=1e-6)


def test_one_scale() -> None:
    model, image = build(scales=[(30, 40)]), image_of()
    small = model.segment(resize(image, (12, 16)))
    torch.testing.assert_close(
        model(image), F.interpolate(small, (30, 40), mode="bilinear", align_corners=False).detach(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("n_patches", [None, 3])
def test_batches_of_images_and_patches_change_nothing(n_patches: int | None) -> None:
    model, images = build(n_patches=n_patches, batch_size=1), image_of(n=2)
    one_by_one = torch.cat([model(images[:1]), model(images[1:])])
    torch.testing.assert_close(model(images), one_by_one, rtol=0, atol=0)
    model = model.with_settings(batch_size=7)
    assert model.patches_per_pass == 7
    close = ((model(images) - one_by_one).abs() < 1e-5).all(dim=1).float().mean()
    assert close > 0.995


@pytest.mark.parametrize(("input_size", "expected"), [((12, 16), 16), ((256, 256), 4), ((1024, 2048), 1)])
def test_patches_per_pass(input_size: tuple[int, int], expected: int) -> None:
    assert build(input_size=input_size).patches_per_pass == expected


def test_one_refiner_per_scale() -> None:
    refiners = [seed_module(RefinementModule(3), f"refiner{i}.") for i in range(2)]
    model, image = build(refiners), image_of()
    swapped = build(refiners[::-1])
    assert model.refiner_at(1) is refiners[0] and model.refiner_at(2) is refiners[1]
    assert not torch.equal(model(image), swapped(image))
    assert build([refiners[0]]).refiner_at(2) is refiners[0]


def test_runs_in_evaluation_mode_and_restores_the_modes() -> None:
    model, image = build(), image_of()
    expected = model.eval()(image)
    model.train()
    model.segmenter.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refined = model(image)
    torch.testing.assert_close(refined, expected, rtol=0, atol=0)
    assert model.training and model.refiners[0].bn0.training and not model.segmenter.training
    assert not refined.requires_grad
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_modes_are_restored_after_an_error() -> None:
    model = build(refiner=None).train()
    model.segmenter.num_classes = None
    model.num_classes = 4
    with pytest.raises(ValueError, match="segmenter: expected logits of 4 classes, got 3"):
        model(image_of())
    assert model.training


def test_bfloat16_stays_close() -> None:
    model, image = build(n_points=1.0, amp="bf16"), image_of()
    half = model(image)
    assert half.dtype == torch.float32
    assert (half - model.with_settings(amp="none")(image)).abs().mean() < 0.02


# predict


def _unit(images: Tensor) -> Tensor:
    """Undo the normalisation: (3, H, W) in [0, 1]."""
    zero, one = normalize(torch.zeros(1, 3, 1, 1)), normalize(torch.ones(1, 3, 1, 1))
    return ((images - zero) / (one - zero))[0].clamp(0, 1)


def test_predict_takes_all_kinds_of_images(tmp_path: Path) -> None:
    array = (_unit(image_of(33, 47)) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "image.png")
    model = build()
    expected = model(normalize(to_tensor(array))[None])[0]
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        Image.fromarray(array),
        array,
        tensor,
        tensor / 255,
    ):
        prediction = model.predict(image)
        torch.testing.assert_close(prediction.probabilities, expected, rtol=0, atol=1e-6)
        assert prediction.labels.shape == (33, 47)
        assert prediction.stages is None
        assert prediction.seconds > 0


def test_stages_are_kept_apart() -> None:
    model = build()
    prediction = model.predict(_unit(image_of()), return_stages=True)
    assert [tuple(stage.scale) for stage in prediction.stages] == SCALES
    assert [tuple(stage.probabilities.shape[1:]) for stage in prediction.stages] == SCALES
    assert torch.equal(prediction.stages[-1].probabilities, prediction.probabilities)
    assert [len(stage.boxes) for stage in prediction.stages] == [0, 4, 20]


@pytest.mark.parametrize("size", [(50, 62), (33, 47), (600, 97), (1, 1)])
def test_labels_at_the_size_of_the_image(size: tuple[int, int]) -> None:
    maps = probs("model.labels", 1, 4, 50, 62)
    whole = F.interpolate(maps, size, mode="bilinear", align_corners=False)[0]
    labels = labels_at(maps[0], size)
    assert labels.shape == size
    top = whole.topk(2, dim=0).values
    assert (labels == whole.argmax(dim=0))[top[0] - top[1] > 1e-5].all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"expected an \(H, W, 3\) uint8"),
        (np.zeros((4, 4, 3), np.float32), r"expected an \(H, W, 3\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"expected an \(H, W, 3\) uint8"),
        (torch.zeros(1, 3, 4, 4), r"one \(3, H, W\) tensor"),
        (torch.zeros(4, 4, 3), r"one \(3, H, W\) tensor"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "uint8 or floats"),
        (torch.full((3, 4, 4), 2.0), r"values in \[0, 1\], got 2 to 2"),
        (torch.full((3, 4, 4), torch.nan), r"values in \[0, 1\]"),
        (7, "expected a path"),
    ],
)
def test_predict_refuses(image: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"image: .*{message}"):
        build().predict(image)  # type: ignore[arg-type]


def test_predict_names_the_bad_file(tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match="does not exist"):
        build().predict(tmp_path / "absent.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(MagNetError, match=r"broken\.png"):
        build().predict(tmp_path / "broken.png")


# arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": []}, "scales: expected a list"),
        ({"scales": 3}, "scales: expected a list"),
        ({"scales": [12, 16]}, r"scales\[0\]: expected two positive ints"),
        ({"scales": [(12, 16), (24, 0)]}, r"scales\[1\]: expected two positive ints"),
        ({"scales": [(i, i) for i in range(12, 77)]}, r"^scales: expected at most 32 sizes, got 65$"),
        ({"scales": [(12, 16), (10**9, 10**9)]}, r"^scales\[1\]: expected at most 2\*\*32 pixels, got \(1000000000, "),
        ({"scales": [(10**400, 1)]}, r"^scales\[0\]: expected at most 2\*\*32 pixels, got \(1000"),
        ({"scales": [[1, 2, 3] * 10**5]}, r"^scales\[0\]: expected two positive ints \(H, W\), got .{0,60}$"),
        ({"input_size": (1 << 15, 1 << 14)}, r"^input_size: expected at most 2\*\*28 pixels, got \(32768, 16384\)$"),
        (
            {"scales": [(12, 16), (2048, 2048)], "patch_size": (1, 2)},
            r"^patch_size: expected at most 1048576 patches in a scale, got \(1, 2\), which makes 2097152 of ",
        ),
        ({"colours": [(0, 0, float("inf"))] * 3}, "^colours: expected RGB"),
        ({"colours": ["x" * 10**5] * 3}, "^colours: expected RGB .{0,300}$"),
        ({"class_names": list(range(10**5))}, "^class_names: expected a list of texts, got .{0,60}$"),
        ({"n_patches": list(range(10**5))}, "^n_patches: expected one number for each .{0,140}$"),
        ({"scales": SCALES[::-1]}, r"scales: expected sizes \(H, W\) from coarse to fine, but \(24, 32\) follows"),
        ({"scales": [(12, 16), (12, 16)]}, "follows"),
        ({"scales": [(12, 16), (24, 12)]}, "follows"),
        ({"patch_size": 12}, "patch_size: expected two"),
        ({"patch_size": (25, 16)}, r"patch_size: expected at most \(24, 32\)"),
        ({"input_size": (0, 16)}, "input_size: expected two"),
        ({"n_points": 0.0}, "n_points: expected an int >= 0"),
        ({"n_points": 1.5}, "n_points"),
        ({"n_points": True}, "n_points"),
        ({"n_points": -1}, "n_points"),
        ({"n_points": float("nan")}, "n_points"),
        ({"n_patches": -1}, "n_patches: expected None"),
        ({"n_patches": 2.0}, "n_patches"),
        ({"n_patches": True}, "n_patches"),
        ({"n_patches": [1, 2, 3]}, "n_patches: expected one number for each scale after the first, 2, got 3"),
        ({"n_patches": [1, -2]}, "n_patches"),
        ({"kernel_size": 4}, "kernel_size: expected an odd int"),
        ({"kernel_size": 17}, "kernel_size"),
        ({"compat": "release"}, "compat: expected 'paper' or 'official'"),
        ({"batch_size": 0}, "batch_size: expected a positive int"),
        ({"amp": "fp8"}, "amp: expected"),
        ({"class_names": ["a", "b"]}, "class_names: expected one for each of 3 classes"),
        ({"class_names": "abc"}, "class_names: expected a list"),
        ({"colours": [(0, 0, 0)] * 2}, "colours: expected one for each of 3"),
        ({"colours": [(0, 0, 300)] * 3}, "colours: expected RGB"),
        ({"refiner": RefinementModule(4)}, "refiner: expected 3 classes"),
        ({"refiner": [RefinementModule(3)] * 3}, "refiner: expected one module, or one for each scale"),
        ({"refiner": [3]}, "refiner: expected a module"),
        ({"refiner": 3}, "refiner: expected a module"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("name", "value"), [("n_points", 0.0), ("n_patches", -1), ("kernel_size", 2), ("batch_size", 0), ("amp", "x")]
)
def test_settings_are_checked_when_changed(name: str, value: object) -> None:
    model, image = build(), _unit(image_of())
    for change in (model.with_settings, lambda **changes: model.predict(image, **changes)):
        with pytest.raises(ValueError, match=f"^{name}: "):
            change(**{name: value})
    with pytest.raises(TypeError, match=r"^settings: expected some of scales, .*, got nothing_such"):
        model.with_settings(nothing_such=1)
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=rf"^{name}: .* take model\.with_settings\({name}=\.\.\.\), or pass it"):
        setattr(model, name, before)
    assert getattr(model, name) == getattr(model.settings, name) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(model.settings, name, before)


def test_settings_that_are_missing_are_named() -> None:
    with pytest.raises(TypeError, match=r"^settings: expected scales, .* got no patch_size, n_points; pass"):
        MagNet(Local(), None, scales=SCALES)


def test_a_model_of_other_settings_shares_the_networks() -> None:
    model, image = build(class_names=["a", "b", "c"]), image_of()
    fast = model.with_settings(n_patches=0, batch_size=2)
    assert model.settings.n_patches is None and fast.settings.n_patches == 0 and fast.class_names == ["a", "b", "c"]
    assert fast.segmenter is model.segmenter and fast.refiners is model.refiners
    assert fast.state_dict().keys() == model.state_dict().keys()
    assert not torch.equal(fast(image), model(image))
    expected = model.predict(_unit(image), n_patches=0).probabilities
    torch.testing.assert_close(fast(image)[0], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="refiner: expected one module, or one for each"):
        build([RefinementModule(3), RefinementModule(3)]).with_settings(scales=[*SCALES, (60, 70)])


def test_the_walk_is_its_stages_one_after_the_other() -> None:
    model, image = build(n_patches=3), _unit(image_of())
    expected = model.predict(image, return_stages=True)
    walk = model.walk(image)
    with pytest.raises(RuntimeError, match=r"^prediction: expected a walk that came to its end"):
        _ = walk.prediction
    maps: list[weakref.ref[Tensor]] = []
    for number, stage in enumerate(walk):
        assert all(kept() is None for kept in maps), "the map of a stage that nobody holds was kept"
        one, same = stage.of(0), expected.stages[number]
        assert torch.equal(one.probabilities, same.probabilities) and list(one.boxes) == list(same.boxes)
        assert stage.looks == (3 if number else 1) and not model.segmenter.training
        maps = [weakref.ref(stage.maps)]
        del stage, one
    assert torch.equal(walk.prediction.labels, expected.labels)
    with pytest.raises(RuntimeError, match=r"^walk: expected to be iterated over once"):
        next(iter(walk))


@pytest.mark.parametrize("points_by", ["score", "uncertainty", "random"])
@pytest.mark.parametrize("n_points", [0.4, 300])
@pytest.mark.parametrize("n_patches", [None, 3, 0])
def test_a_batch_is_as_its_images_one_by_one(points_by: str, n_points: int | float, n_patches: int | None) -> None:
    """Also where the patches of each image cover another number of pixels."""
    images = image_of(n=3)
    model = build(points_by=points_by, n_points=n_points, n_patches=n_patches, batch_size=4)
    alone = torch.cat([model(images[i : i + 1]) for i in range(3)])
    together = model(images)
    close = ((together - alone).abs() < 1e-5).all(dim=1).float().mean()
    assert close > 0.995
    plan = model.plan(images.shape[-2:])
    *_, last = paper_walk(model.eval(), model.settings, plan, images, labels_only=True)
    assert last.maps is None and last.labels is not None
    assert (last.labels == together.argmax(1)).float().mean() > 0.999


def test_segmenter_must_be_a_module_of_several_classes() -> None:
    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 1}
    with pytest.raises(TypeError, match="segmenter: expected a module"):
        MagNet("compact", None, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 classes"):
        MagNet(Local(1), None, **arguments)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(1, 1, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(0, 3, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "images: expected a floating-point"),
        ("x.png", "images: expected a floating-point"),
    ],
)
def test_forward_refuses(images: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_other_floats_are_taken(dtype: torch.dtype) -> None:
    model, image = build(), image_of()
    found = model(image.to(dtype))
    assert found.dtype == torch.float32 and torch.equal(found, model(image.to(dtype).float()))


def test_networks_of_the_wrong_output_are_named() -> None:
    class Small(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[..., ::2, ::2]

    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 1}
    with pytest.raises(ValueError, match=r"segmenter: expected logits .*\(1, C, 12, 16\), got \(1, 3, 6, 8\)"):
        MagNet(Small(), None, **arguments)(image_of())

    class Fewer(nn.Module):
        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return fine[:, :2]

    with pytest.raises(ValueError, match="refiner: expected logits of 3 classes, got 2"):
        MagNet(Local(), Fewer(), **arguments)(image_of())


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    model = build(progress=True)
    model(image_of(n=2))
    assert "0/50" in capsys.readouterr().err
    model.with_settings(progress=False)(image_of())
    assert capsys.readouterr().err == ""
    assert count_patches(model.settings, model.plan((8, 8))) == 25
