"""MagNet-Fast: the walk over the most uncertain patches alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from walked import build, image_of, unit

from magnet import refine_step
from magnet.images.tensors import resize
from magnet.walk.grid import count_covered, patch_grid
from magnet.walk.look import choose_boxes, look
from magnet.walk.views import TensorViews
from magnet_kernels import confidence

pytestmark = pytest.mark.usefixtures("one_thread")


def test_fast_takes_the_most_uncertain_patches_and_touches_nothing_else() -> None:
    model = build(n_patches=3)
    coarse, first, second = model.predict(unit(image_of()), return_stages=True).stages
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
    before, after = model.predict(unit(image), return_stages=True).stages[1:]
    known = F.interpolate(before.probabilities[None], (50, 62), mode="bilinear", align_corners=False)
    fine, count = torch.zeros_like(known), torch.zeros(1, 1, 50, 62)
    assert len(after.boxes) == 2
    with torch.inference_mode():
        # the refined patches of the grid, of which the walk looks at two
        every = model.settings.changed(n_patches=None)
        boxes, looked_at = look(model, every, model.plan((8, 8)), known, TensorViews(image), 2)
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
