"""Answers averaged over mirrored images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_model import save_tiny_model
from torch import Tensor, nn

import magnet
from magnet.cli import main as cli

FLIPS = {"none": [()], "horizontal": [(), (3,)], "both": [(), (3,), (2,), (2, 3)]}


class Counted(nn.Module):
    """A network whose answers depend on where pixels are, and which counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 3, padding=1)
        nn.init.normal_(self.network.weight)
        self.seen = 0

    def forward(self, images: Tensor, coarse: Tensor | None = None) -> Tensor:
        self.seen += len(images)
        place = torch.linspace(0, 1, images.shape[-1]) + torch.linspace(0, 2, images.shape[-2])[:, None]
        return self.network(images) * place


def make_model(refiner: nn.Module | None = None, **settings: object) -> magnet.MagNet:
    torch.manual_seed(0)
    given = {"scales": [(16, 24), (32, 48)], "patch_size": (16, 24), "n_points": 1.0, "batch_size": 1, **settings}
    return magnet.MagNet(Counted(), refiner, **given).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_a_mirrored_image_has_the_mirrored_answer(flips: str) -> None:
    model = make_model(flips=flips)
    images = torch.randn(2, 3, 32, 48)
    expected = model(images)
    for axes in FLIPS["both"][1:]:
        mirrored = model(images.flip(axes)).flip(axes)
        assert torch.allclose(mirrored, expected, atol=1e-5) == (axes in FLIPS[flips])
    assert torch.allclose(expected.sum(dim=1), torch.ones(2, 32, 48), atol=1e-5)


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_they_are_the_mean_of_what_the_segmenter_says(flips: str) -> None:
    model = make_model(flips=flips)
    image = torch.randn(2, 3, 16, 24)
    expected = [model.segmenter(image.flip(axes)).softmax(dim=1).flip(axes) for axes in FLIPS[flips]]
    torch.testing.assert_close(model.segment(image), torch.stack(expected).mean(dim=0))


@pytest.mark.parametrize(("flips", "times"), [("none", 1), ("horizontal", 2), ("both", 4)])
def test_they_take_as_many_passes_for_one_call(flips: str, times: int) -> None:
    refiner = Counted()
    model = make_model(refiner)
    model.predict(torch.rand(3, 32, 48), flips=flips)
    assert isinstance(model.segmenter, Counted)
    assert model.segmenter.seen == 5 * times  # the whole image and four patches
    assert refiner.seen == 4
    assert model.flips == "none"


def test_a_traced_walk_has_them() -> None:
    model = make_model(flips="both", batch_size=4)
    images = torch.randn(1, 3, 32, 48)
    traced = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(traced(images), model(images), rtol=0, atol=1e-5)


def test_they_are_kept_with_the_model_and_asked_for_at_the_command_line(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "plain")
    model = magnet.MagNet.from_pretrained(folder, flips="horizontal")
    model.save_pretrained(tmp_path / "flips")
    assert magnet.MagNet.from_pretrained(tmp_path / "flips").flips == "horizontal"
    image = (torch.rand(40, 56, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy()
    Image.fromarray(image).save(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--save", "probabilities"]
    found = []
    for number, (stored, more) in enumerate([("plain", ["--flips", "horizontal"]), ("flips", []), ("plain", [])]):
        out = tmp_path / str(number)
        assert cli.main([*words, "--model", str(tmp_path / stored), "--out", str(out), *more]) == 0
        found.append(next(out.glob("a_prob*")).read_bytes())
    assert found[0] == found[1] != found[2]


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="flips: expected one of 'none', 'horizontal', 'both', got 'vertical'"):
        make_model(flips="vertical")
    with pytest.raises(ValueError, match="flips: expected 'none' with compat='official', got 'both'"):
        make_model(flips="both", compat="official")
