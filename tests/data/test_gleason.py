"""Gleason 2019 as it is distributed: several annotators of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_data import configured, files, gleason_sample, save

from magnet.data import Gleason, ScaleCache
from magnet.data.gleason import majority
from magnet.errors import MagNetError


def test_votes_are_counted_and_ties_are_ignored() -> None:
    maps = [np.array([m], np.uint8) for m in ([0, 1, 2, 4, 255, 255], [0, 1, 3, 4, 3, 255], [0, 2, 4, 1, 255, 255])]
    np.testing.assert_array_equal(majority(maps), [[0, 1, 255, 4, 3, 255]])
    np.testing.assert_array_equal(majority(maps[:2]), [[0, 1, 255, 4, 3, 255]])
    six = [np.full((1, 1), 4, np.uint8)] * 6
    np.testing.assert_array_equal(majority(six), [[4]])
    np.testing.assert_array_equal(majority(six[:3] + [np.full((1, 1), 1, np.uint8)] * 3), [[255]])


def test_one_annotator_by_number(tmp_path: Path) -> None:
    keys = gleason_sample(tmp_path)
    third, fourth = (files(configured({**keys, "data.annotator": n}), "train") for n in (3, 4))
    everyone = files(configured(keys), "train")
    assert third.pairs[0].labels[0].parent.name == "Maps3_T" and len(third) == len(everyone) > len(fourth) > 0
    assert {p.name for p in fourth.pairs} < {p.name for p in everyone.pairs}  # the split does not depend on the choice
    grades, voted = third.load(0)[1], everyone.load(0)[1]
    np.testing.assert_array_equal(grades == 2, voted == 3)  # grade 3 where the others gave 4
    with pytest.raises(MagNetError, match=r"no maps in Maps6_T"):
        files(configured({**keys, "data.annotator": 6}), "train")
    with pytest.raises(MagNetError, match=r"data\.annotator: expected majority.*got 9"):
        Gleason(tmp_path, "train", annotator=9)


def test_a_random_annotator_for_each_training_sample(tmp_path: Path) -> None:
    config = configured({**gleason_sample(tmp_path), "data.annotator": "random"})
    data, voted = files(config, "train"), files(configured(gleason_sample(tmp_path / "again")), "train")
    assert data.varies and not files(config, "val").varies
    draws = [data.load(0, np.random.default_rng(seed))[1] for seed in range(12)]
    assert {int(labels.max()) for labels in draws} == {2, 3}  # annotator 3, and the others
    np.testing.assert_array_equal(draws[5], data.load(0, np.random.default_rng(5))[1])
    np.testing.assert_array_equal(data.load(0)[1], voted.load(0)[1])
    cache = ScaleCache(data, [(32, 48), (64, 96)])
    drawn = [cache.open(0, np.random.default_rng(seed)).get(1)[1] for seed in range(12)]
    np.testing.assert_array_equal(drawn, draws)


def test_maps_of_different_sizes_and_strange_grades_are_named(tmp_path: Path) -> None:
    data = files(configured(gleason_sample(tmp_path)), "train")
    path = data.pairs[0].labels[1]
    good = np.array(Image.open(path))
    save(np.where(good == 6, 2, good).astype(np.uint8), path)
    with pytest.raises(MagNetError, match=rf"{path.parent.name}.*holds \[2\]"):
        data.load(0)
    save(good[:-1], path)
    with pytest.raises(MagNetError, match=r"Maps2_T.*is 63x96.*Maps1_T.*64x96"):
        data.load(0)


def test_cores_without_maps_and_maps_without_cores(tmp_path: Path) -> None:
    config = configured(gleason_sample(tmp_path))
    pair = files(config, "train").pairs[0]
    for path in pair.labels:
        path.rename(path.with_suffix(".gone"))
    with pytest.raises(MagNetError, match=rf"1 images without their labels, the first '.*{pair.name}\.jpg"):
        files(config, "train")
    for path in pair.labels:
        path.with_suffix(".gone").rename(path)
    pair.image.unlink()
    with pytest.raises(MagNetError, match=rf"1 labels without their image, the first '.*{pair.name}_classimg"):
        files(config, "train")
