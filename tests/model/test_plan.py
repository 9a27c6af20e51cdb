"""Scales that follow the image, and other choices of points than the paper's score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import magnet
from magnet.walk.plan import Plan
from magnet_kernels import confidence, median_blur


def make_model(**options: object) -> magnet.MagNet:
    torch.manual_seed(0)
    settings = {"scales": [(16, 24), (32, 48), (64, 96)], "patch_size": (16, 24), "n_points": 200}
    segmenter, refiner = magnet.build_segmenter("compact", 3), magnet.RefinementModule(3)
    for module in segmenter.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.weight)
    return magnet.MagNet(segmenter, refiner, **{**settings, **options}).eval()  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_image_of_the_last_scale_is_walked_alike() -> None:
    image = torch.rand(3, 64, 96)
    fixed, followed = (make_model(follow_image=follow).predict(image) for follow in (False, True))
    assert fixed.probabilities is not None and followed.probabilities is not None
    assert torch.equal(fixed.probabilities, followed.probabilities)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 96), Plan([(16, 24), (32, 48), (64, 96)], (16, 24), (16, 24), (16, 24))),
        ((640, 960), Plan([(16, 24), (32, 48), (64, 96)], (16, 24), (16, 24), (16, 24))),
        # square: as high as the first scale, aspect kept, and the image's own size last
        ((40, 40), Plan([(16, 16), (32, 32), (40, 40)], (16, 16), (16, 24), (16, 24))),
        ((32, 32), Plan([(16, 16), (32, 32)], (16, 16), (16, 24), (16, 24))),
        ((10, 10), Plan([(10, 10)], (10, 10), (16, 24), (16, 24))),
        # so long that a patch would not fit
        ((20, 200), Plan([(2, 24), (5, 48), (10, 96)], (2, 24), (5, 24), (5, 24))),
    ],
)
def test_scales_keep_the_aspect_and_never_enlarge(size: tuple[int, int], expected: Plan) -> None:
    assert make_model(follow_image=True).plan(size) == expected


def test_what_the_networks_see_shrinks_with_the_scales() -> None:
    model = make_model(follow_image=True, input_size=(8, 12))
    assert model.plan((64, 64)) == Plan([(16, 16), (32, 32), (64, 64)], (8, 8), (16, 24), (8, 12))
    assert model.plan((20, 200)).input_size == (2, 12)


@pytest.mark.slow
def test_an_image_of_another_aspect_is_predicted_at_its_size() -> None:
    model = make_model(follow_image=True)
    stages = model.predict(torch.rand(3, 40, 40), return_stages=True).stages
    assert stages is not None
    assert [stage.scale for stage in stages] == [(16, 16), (32, 32), (40, 40)]
    assert tuple(stages[-1].probabilities.shape) == (3, 40, 40)
    plain = model.predict(torch.rand(3, 37, 53), probabilities=False)
    assert plain.labels.shape == (37, 53)
    assert model.predict(torch.rand(3, 10, 10)).labels.shape == (10, 10)
    assert model(torch.rand(2, 3, 40, 40)).shape == (2, 3, 40, 40)


@pytest.mark.parametrize("choice", ["uncertainty", "random"])
def test_points_of_another_choice(choice: str) -> None:
    model = make_model(points_by=choice, scales=[(16, 24), (32, 48)])
    image = torch.rand(3, 32, 48)
    coarse, fine = _maps(model, image)
    result = model.predict(image, return_stages=True)
    assert result.stages is not None and result.stages[1].points is not None and result.probabilities is not None
    points = result.stages[1].points
    assert len(points) == 200 and bool((points.diff() > 0).all())
    if choice == "uncertainty":
        score = median_blur(1 - confidence(coarse), 3).flatten()
        rest = torch.ones(score.numel(), dtype=torch.bool)
        rest[points] = False
        assert score[points].min() >= score[rest].max()
    expected = coarse.flatten(2).clone()
    expected[..., points] = fine.flatten(2)[..., points]
    torch.testing.assert_close(result.probabilities.flatten(1), expected[0])
    again = model.predict(image, probabilities=False)
    assert torch.equal(again.labels, result.labels)


def test_other_choices_differ_from_the_score() -> None:
    image = torch.rand(3, 64, 96)
    found = [make_model(points_by=choice).predict(image).probabilities for choice in ("score", "uncertainty", "random")]
    assert all(one is not None for one in found)
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])  # type: ignore[arg-type]


def test_points_of_another_choice_stay_in_the_patches() -> None:
    model = make_model(points_by="uncertainty", n_patches=1, n_points=10**6, scales=[(16, 24), (32, 48)])
    stages = model.predict(torch.rand(3, 32, 48), return_stages=True).stages
    assert stages is not None and stages[1].points is not None
    x0, y0, x1, y1 = stages[1].boxes[0]
    assert len(stages[1].points) == (x1 - x0) * (y1 - y0)
    stages = model.predict(torch.rand(3, 32, 48), return_stages=True, n_patches=0).stages
    assert stages is not None and stages[1].points is not None and len(stages[1].points) == 0


def test_both_are_kept_with_the_model(tmp_path: Path) -> None:
    make_model(follow_image=True, points_by="random").save_pretrained(tmp_path)
    model = magnet.MagNet.from_pretrained(tmp_path)
    assert model.follow_image and model.points_by == "random"
    assert not magnet.MagNet.from_pretrained(tmp_path, follow_image=False).follow_image


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="points_by: expected one of 'score', 'uncertainty', 'random', got 'best'"):
        make_model(points_by="best")
    with pytest.raises(ValueError, match="follow_image: expected one of False, True, got 1"):
        make_model(follow_image=1)
    with pytest.raises(ValueError, match="follow_image: expected False with compat='official'"):
        make_model(follow_image=True, compat="official")


def _maps(model: magnet.MagNet, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The upsampled coarse map of a walk of two scales, and the refined patches without any choice of points."""
    model_all = make_model(points_by="score", scales=[(16, 24), (32, 48)], n_points=1.0)
    model_none = make_model(points_by="score", scales=[(16, 24), (32, 48)], n_points=0)
    coarse, fine = model_none.predict(image).probabilities, model_all.predict(image).probabilities
    assert coarse is not None and fine is not None
    return coarse[None], fine[None]


def test_the_options_of_a_command_are_arguments_of_the_model(tmp_path: Path) -> None:
    from magnet.cli.arguments import Parser, add_walk_options, walk_options

    make_model().save_pretrained(tmp_path)
    parser = Parser()
    add_walk_options(parser)
    assert walk_options(parser.parse_args([])) == {}
    words = ["--follow-image", "--no-match-colours", "--points-by", "uncertainty"]
    model = magnet.MagNet.from_pretrained(tmp_path, **walk_options(parser.parse_args(words)))
    assert (model.follow_image, model.match_colours, model.points_by) == (True, False, "uncertainty")
