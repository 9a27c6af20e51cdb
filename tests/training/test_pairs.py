"""The pairs that the refiner learns from: chains of nested patches, and the map that each scale starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from like_cuda import DividesLikeCuda
from tiny_data import tiny_config, tiny_folder

import magnet
import magnet_kernels
from magnet.cli.config import parse_config
from magnet.data import DataFolder, ScaleCache
from magnet.training.chains import draw_chain
from magnet.training.pairs import PairMaker, _enlarge
from magnet.walk.points_by import CHOICES, refine_step_by

SIZES = [(16, 24), (32, 48), (64, 96)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("pairs") / "data")


def test_chains_are_nested_and_the_enlarged_map_fits(folder: Path) -> None:
    cache = ScaleCache(DataFolder(folder, "train"), SIZES)
    whole = torch.rand(1, 2, 16, 24)
    for seed in range(10):
        chain = draw_chain(np.random.default_rng(seed), cache, seed % 4, (16, 24), None)
        assert chain.images.shape == (3, 3, 16, 24) and chain.labels.shape == (3, 16, 24)
        for parent, child in zip(chain.origins, chain.origins[1:], strict=False):
            for i, length in enumerate((16, 24)):
                assert 2 * parent[i] <= child[i] and child[i] + length <= 2 * (parent[i] + length)
        y, x = chain.origins[1]
        up = torch.nn.functional.interpolate(whole, (32, 48), mode="bilinear", align_corners=False)
        torch.testing.assert_close(_enlarge(whole, (0, 0), (y, x), (2.0, 2.0)), up[..., y : y + 16, x : x + 24])


@pytest.mark.parametrize("ratio", [(1.7, 3.1), (7 / 3, 115 / 27)])
def test_the_enlarged_map_lies_at_the_same_places_on_a_gpu(ratio: tuple[float, float]) -> None:
    parent = torch.rand(1, 3, 13, 27)
    expected = _enlarge(parent, (3, 5), (40, 61), ratio)
    with DividesLikeCuda():
        assert torch.equal(_enlarge(parent, (3, 5), (40, 61), ratio), expected)


def coarse_of_the_last_scale(folder: Path, **walk: str) -> torch.Tensor:
    settings = {
        "walk.scales": str([list(size) for size in SIZES]),
        "walk.patch_size": "[16,24]",
        "walk.n_points": "0.2",
    }
    settings |= {f"walk.{key}": value for key, value in walk.items()}
    config = parse_config(tiny_config(folder, folder, **settings))
    torch.manual_seed(0)
    segmenter = magnet.build_segmenter("compact", 2).eval()
    torch.nn.init.normal_(list(segmenter.parameters())[-2], std=0.5)  # answers that differ from place to place
    maker = PairMaker(config, segmenter, config.network_sizes, torch.device("cpu"))
    cache = ScaleCache(DataFolder(folder, "train"), SIZES)
    chain = draw_chain(np.random.default_rng(3), cache, 1, (16, 24), None)
    return maker.pairs([chain], None)[2][1]


def test_training_accumulates_as_the_walk_chooses(folder: Path) -> None:
    by_choice = {choice: coarse_of_the_last_scale(folder, points_by=choice) for choice in CHOICES}
    assert not torch.equal(by_choice["score"], by_choice["uncertainty"])
    assert not torch.equal(by_choice["uncertainty"], by_choice["random"])
    everything = [coarse_of_the_last_scale(folder, points_by=choice, n_points="1.0") for choice in CHOICES]
    assert all(torch.equal(everything[0], other) for other in everything)
    nothing = [coarse_of_the_last_scale(folder, points_by=choice, n_points="0") for choice in CHOICES]
    assert all(torch.equal(nothing[0], other) for other in nothing)
    assert not torch.equal(nothing[0], everything[0])


@pytest.mark.parametrize("n_points", [0, 7, 0.25, 1.0])
def test_a_step_by_another_choice_replaces_the_points_of_that_choice(n_points: float) -> None:
    coarse, fine = torch.rand(2, 3, 8, 10).softmax(1), torch.rand(2, 3, 8, 10).softmax(1)
    before = coarse.clone()
    unsure = magnet_kernels.median_blur(1 - magnet_kernels.confidence(coarse), 3).flatten(1)
    count = n_points if isinstance(n_points, int) else int(80 * n_points)
    result = refine_step_by("uncertainty", coarse, fine, n_points=n_points, kernel_size=3)
    assert torch.equal(coarse, before)
    for i in range(2):
        changed = (result[i] != coarse[i]).any(dim=0).flatten()
        assert int(changed.sum()) == count
        assert count in (0, 80) or unsure[i][changed].min() >= unsure[i][~changed].max()
        assert torch.equal(result[i].flatten(1)[:, changed], fine[i].flatten(1)[:, changed])
    paper = refine_step_by("score", coarse, fine, n_points=n_points, kernel_size=3)
    assert torch.equal(paper, magnet_kernels.refine_step(coarse, fine, n_points=n_points, kernel_size=3))
