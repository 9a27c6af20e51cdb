"""Matching the colours of an image to those of the training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import magnet
from magnet.images.match_colours import channel_statistics, match_channels
from magnet.images.tensors import normalize

STATISTICS = ([0.6, 0.2, 0.1], [0.3, 0.1, 0.05])


def make_model(**options: object) -> magnet.MagNet:
    torch.manual_seed(0)
    segmenter = magnet.build_segmenter("compact", 2)
    torch.nn.init.normal_(segmenter.head.weight)  # type: ignore[union-attr, arg-type]
    settings = {"scales": [(16, 24), (32, 48)], "patch_size": (16, 24), "n_points": 200}
    return magnet.MagNet(segmenter, None, **{**settings, **options}).eval()  # type: ignore[arg-type]


def test_statistics_are_those_of_all_pixels() -> None:
    images = [np.random.default_rng(i).integers(0, 200, (20, 30, 3), dtype=np.uint8) for i in range(2)]
    mean, std = channel_statistics(images)
    pixels = np.concatenate(images).reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-4)
    np.testing.assert_allclose(std, pixels.std(0), atol=1e-4)


def test_channels_get_the_wanted_statistics_and_flat_ones_do_not_explode() -> None:
    images = torch.rand(2, 3, 40, 50) * torch.tensor([0.2, 1.0, 0.6]).view(3, 1, 1)
    images[1, 2] = 0.5
    matched = match_channels(images, *STATISTICS)
    torch.testing.assert_close(matched.mean(dim=(2, 3)), torch.tensor(STATISTICS[0]).expand(2, 3))
    torch.testing.assert_close(matched[0].std(dim=(1, 2), correction=0), torch.tensor(STATISTICS[1]))
    assert bool((matched[1, 2] == matched[1, 2, 0, 0]).all())


def test_another_camera_makes_no_difference() -> None:
    model = make_model(colour_statistics=STATISTICS, match_colours=True)
    image = torch.rand(3, 32, 48)
    other = image * torch.tensor([0.5, 0.9, 0.3]).view(3, 1, 1) + 0.05
    expected = model.predict(image).probabilities
    assert expected is not None
    torch.testing.assert_close(model.predict(other).probabilities, expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model(normalize(other[None]))[0], expected, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(model.predict(other, match_colours=False).probabilities, expected, atol=1e-2)  # type: ignore[arg-type]


def test_statistics_are_kept_with_the_model(tmp_path: Path) -> None:
    make_model(colour_statistics=STATISTICS, match_colours=True).save_pretrained(tmp_path)
    model = magnet.MagNet.from_pretrained(tmp_path)
    assert model.colour_statistics == tuple(map(tuple, STATISTICS)) and model.match_colours


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="match_colours: expected a model that keeps colour_statistics"):
        make_model(match_colours=True)
    with pytest.raises(ValueError, match="colour_statistics: expected"):
        make_model(colour_statistics=([1, 2, 3], [0, 0, 0]))
    with pytest.raises(ValueError, match="match_colours: expected False with compat='official'"):
        make_model(colour_statistics=STATISTICS, match_colours=True, compat="official")
