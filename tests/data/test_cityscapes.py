"""Cityscapes as it is distributed: label ids, lists, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_data import cityscapes_sample, configured, files, save

from magnet.data.config import ListsConfig
from magnet.errors import MagNetError


def test_label_ids_become_train_ids(tmp_path: Path) -> None:
    data = files(configured(cityscapes_sample(tmp_path)), "train")
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    save(ids, data.pairs[0].labels[0])
    save(np.zeros((2, 17, 3), np.uint8), data.pairs[0].image)
    train_ids = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    train_ids |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    expected = np.array([train_ids.get(i, 255) for i in range(34)]).reshape(2, 17)
    np.testing.assert_array_equal(data.load(0)[1], expected)
    save(ids + 2, data.pairs[0].labels[0])
    with pytest.raises(MagNetError, match=r"labelIds\.png' holds \[34, 35\], which are mapped to no class"):
        data.load(0)


def test_the_labels_of_the_test_split_are_not_public(tmp_path: Path) -> None:
    config = configured(cityscapes_sample(tmp_path))
    with pytest.raises(MagNetError, match=r"are not public; use the split val"):
        files(config, "test").load(0)
    shutil.rmtree(tmp_path / "gtFine" / "test")
    with pytest.raises(MagNetError, match=r"gtFine/test'.*are not public; use the split val"):
        files(config, "test")


def test_cityscapes_names_what_is_missing(tmp_path: Path) -> None:
    config = configured(cityscapes_sample(tmp_path))
    label = next((tmp_path / "gtFine" / "train" / "ulm").glob("*_labelIds.png"))
    label.rename(label.with_name("elsewhere.png"))
    with pytest.raises(MagNetError, match=r"1 images without their labels, the first '.*ulm_000001_.*_leftImg8bit"):
        files(config, "train")
    shutil.rmtree(tmp_path / "leftImg8bit" / "val" / "lindau")
    with pytest.raises(MagNetError, match=r"1 labels without their image, the first '.*lindau"):
        files(config, "val")
    shutil.rmtree(tmp_path / "leftImg8bit")
    with pytest.raises(MagNetError, match=r"leftImg8bit/train'.*set data.root"):
        files(config, "train")


def test_release_lists_serve_instead_of_the_folders(tmp_path: Path) -> None:
    config = configured(cityscapes_sample(tmp_path))
    whole = files(config, "train")
    image, (label,) = whole.pairs[2].image.relative_to(tmp_path), whole.pairs[2].labels
    (tmp_path / "one.lst").write_text(f"{image}\t{label.relative_to(tmp_path)}\r\n\n")
    config.lists = ListsConfig(train="one.lst")
    assert [p.name for p in files(config, "train").pairs] == [image.stem]
    np.testing.assert_array_equal(files(config, "train").load(0)[1], whole.load(2)[1])
    with pytest.raises(MagNetError, match=r"data\.lists\.val: expected a list, as the other splits have one"):
        files(config, "val")
