"""The walk over all patches: what the paper says, in plain torch, and what sizes and batches do to it."""

from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from live import at_most
from seeded import seed_module
from torch import Tensor
from walked import build, image_of, unit

from magnet import MagNet, RefinementModule, refine_step
from magnet.images.tensors import resize
from magnet.walk.grid import patch_grid
from magnet.walk.paper import paper_walk
from magnet.walk.traced import traced_walk

pytestmark = pytest.mark.usefixtures("one_thread")


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
    stages = model.predict(unit(image), return_stages=True).stages
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


def test_a_batch_equals_its_images_one_by_one_but_for_rounding() -> None:
    model, images = build(), image_of(n=3)
    one_by_one = torch.cat([model(image[None]) for image in images])
    together = model(images)
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-5)
    assert torch.equal(together.argmax(dim=1), one_by_one.argmax(dim=1))


def test_walks_that_go_on_side_by_side() -> None:
    """Networks that are in training mode are in evaluation mode while a walk computes, whoever walks besides."""
    model = build().train()
    image = torch.rand(3, 48, 64)
    alone = model.predict(image)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one, other = model.walk(image), model.with_settings(kernel_size=1).walk(image)
    first, second = iter(one), iter(other)
    next(first)
    assert model.training
    next(second)
    for walk in (first, second):
        for _ in walk:
            assert model.training
    assert torch.equal(one.prediction.labels, alone.labels)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


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


def test_bfloat16_stays_close() -> None:
    model, image = build(n_points=1.0, amp="bf16"), image_of()
    half = model(image)
    assert half.dtype == torch.float32
    assert (half - model.with_settings(amp="none")(image)).abs().mean() < 0.02


def test_the_walk_is_its_stages_one_after_the_other() -> None:
    model, image = build(n_patches=3), unit(image_of())
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
