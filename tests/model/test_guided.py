"""Refiners that see the image: what they are given, and that a folder knows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_model import one_layer_model
from torch import Tensor, nn

import magnet
from magnet.errors import MagNetError
from magnet.images.tensors import resize
from magnet.walk.grid import patch_grid
from magnet_kernels import crop_patches

SETTINGS = {"scales": [(16, 32), (32, 64)], "patch_size": (16, 32), "n_points": 0.5}


class Recorder(nn.Module):
    """Keeps what it is called with, and answers with the fine map."""

    sees_image = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, fine: Tensor, coarse: Tensor, image: Tensor) -> Tensor:
        self.seen.append((fine, coarse, image))
        return fine.log()


def test_the_image_is_what_the_maps_show() -> None:
    recorder = Recorder()
    model = one_layer_model(refiner=recorder)
    images = torch.randn(2, 3, 40, 90, generator=torch.Generator().manual_seed(0))
    model(images)
    first = recorder.seen[0][2]
    (h, w), (ph, pw) = model.scales[1], model.patch_size
    at_scale = resize(images, (h, w))
    boxes = torch.tensor([[n, *box] for n in (0, 1) for box in patch_grid((h, w), (ph, pw))], dtype=torch.float32)
    torch.testing.assert_close(first, crop_patches(at_scale, boxes, (ph, pw)), atol=1e-5, rtol=0)
    for fine, coarse, image in recorder.seen:
        assert fine.shape == coarse.shape and image.shape == (len(fine), 3, *fine.shape[2:])
        with torch.inference_mode():
            torch.testing.assert_close(fine, model.segment(image), atol=1e-5, rtol=0)


def test_begins_near_the_mean_of_both_predictions() -> None:
    torch.manual_seed(0)
    refiner = magnet.build_refiner("guided", 4).eval()
    fine, coarse = (torch.rand(1, 4, 9, 13).softmax(dim=1) for _ in range(2))
    with torch.inference_mode():
        merged = refiner(fine, coarse, torch.randn(1, 3, 9, 13)).softmax(dim=1)
    mean = (fine * coarse).sqrt()
    assert (merged - mean / mean.sum(dim=1, keepdim=True)).abs().max() < 0.1


def test_a_folder_knows_its_refiners(tmp_path: Path) -> None:
    torch.manual_seed(1)
    guided = [magnet.build_refiner("guided", 4, channels=5) for _ in range(2)]
    settings = {**SETTINGS, "scales": [*SETTINGS["scales"], (64, 128)], "channels": 5}
    model = magnet.MagNet(magnet.build_segmenter("compact", 4, channels=5), guided, **settings).eval()
    model.save_pretrained(tmp_path)
    read = magnet.MagNet.from_pretrained(tmp_path).eval()
    images = torch.randn(1, 5, 70, 130)
    assert torch.equal(model(images), read(images))


def test_folders_of_the_papers_refiners_stay_as_they_were(tmp_path: Path) -> None:
    magnet.MagNet(magnet.build_segmenter("compact", 4), magnet.RefinementModule(4), **SETTINGS).save_pretrained(
        tmp_path
    )
    assert "refiner" not in json.loads((tmp_path / "config.json").read_text())


def test_an_unknown_kind_in_a_folder_is_named(tmp_path: Path) -> None:
    magnet.MagNet(magnet.build_segmenter("compact", 4), magnet.build_refiner("guided", 4), **SETTINGS).save_pretrained(
        tmp_path
    )
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"guided"', '"better"'))
    with pytest.raises(MagNetError, match="refiner: expected one of merge, guided, got 'better'"):
        magnet.MagNet.from_pretrained(tmp_path)


def test_refiners_of_two_kinds_are_not_saved(tmp_path: Path) -> None:
    kinds = [magnet.build_refiner(name, 4) for name in ("merge", "guided")]
    scales = [*SETTINGS["scales"], (64, 128)]
    model = magnet.MagNet(magnet.build_segmenter("compact", 4), kinds, **{**SETTINGS, "scales": scales})
    with pytest.raises(MagNetError, match="refiner: expected modules of one kind, got guided, merge"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_bad_input_is_named() -> None:
    refiner = magnet.build_refiner("guided", 4).eval()
    maps, image = torch.rand(2, 4, 8, 8), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"fine, coarse: expected \(N, 4, H, W\)"):
        refiner(maps, maps[..., :4], image)
    with pytest.raises(ValueError, match=r"image: expected \(2, 3, 8, 8\)"):
        refiner(maps, maps, image[:1])
    with pytest.raises(ValueError, match="name: expected one of 'merge', 'guided', got 'better'"):
        magnet.build_refiner("better", 4)


def test_a_graph_of_it_gives_the_same() -> None:
    torch.manual_seed(2)
    model = one_layer_model(refiner=magnet.build_refiner("guided", 4))
    images = torch.randn(1, 3, 32, 64)
    program = torch.export.export(model, (images,))
    torch.testing.assert_close(program.module()(images), model(images), atol=1e-4, rtol=0)
