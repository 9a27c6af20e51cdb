"""DeepGlobe as it is distributed: colours of classes and of none, lists of ids or of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_data import configured, deepglobe_sample, files, save

from magnet.errors import MagNetError


def test_colours_of_no_class_are_an_error_with_their_counts(tmp_path: Path) -> None:
    data = files(configured(deepglobe_sample(tmp_path)), "train")
    mask = np.array(Image.open(data.pairs[0].labels[0]))
    mask[3, :5], mask[4, 0] = (254, 255, 0), (10, 20, 30)
    save(mask, data.pairs[0].labels[0])
    told = r"_mask\.png' has 6 pixels of 2 colours that no class has \(\(254, 255, 0\) x 5, \(10, 20, 30\) x 1\)"
    with pytest.raises(MagNetError, match=told):
        data.load(0)


def test_colours_of_no_class_may_be_ignored_or_binarized(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = configured({**deepglobe_sample(tmp_path), "data.unmatched": "ignore"})
    data = files(config, "train")
    clean = data.load(0)[1]
    mask = np.array(Image.open(data.pairs[0].labels[0])).astype(int)
    mask[3, :5], mask[4, 0] = (254, 255, 1), (200, 20, 30)  # agriculture; red, of no class
    save(mask.astype(np.uint8), data.pairs[0].labels[0])
    labels = data.load(0)[1]
    data.load(0)
    assert (labels[3, :5] == 255).all() and labels[4, 0] == 255
    np.testing.assert_array_equal(labels[5:], clean[5:])
    assert len(caplog.messages) == 1 and "has 6 pixels of 2 colours" in caplog.text and "are ignored" in caplog.text
    config.unmatched = "binarize"
    with pytest.raises(MagNetError, match=r"has 1 pixels of 1 colours that no class has \(\(255, 0, 0\) x 1\)"):
        files(config, "train").load(0)
    mask[4, 0] = (130, 140, 90)
    save(mask.astype(np.uint8), data.pairs[0].labels[0])
    assert (files(config, "train").load(0)[1][3:5, 0] == 1).all()


def test_unknown_is_ignored_or_class_0(tmp_path: Path) -> None:
    keys = deepglobe_sample(tmp_path)
    six, seven = (files(configured({**keys, "data.unknown": u}), "train") for u in ("ignore", "class"))
    assert seven.class_names == ["unknown", *six.class_names] and six.class_names[0] == "urban"
    a, b = six.load(1)[1], seven.load(1)[1]
    assert (a[:2] == 255).all() and (b[:2] == 0).all()
    np.testing.assert_array_equal(a[2:] + 1, b[2:])
    assert (seven.colours or [])[b[0, 0]] == (0, 0, 0)


def test_deepglobe_by_lists_of_ids_or_of_files(tmp_path: Path) -> None:
    keys = deepglobe_sample(tmp_path)
    (tmp_path / "ids.txt").write_text("1017\n1000_sat.jpg\n")
    (tmp_path / "files.txt").write_text("train/1017_sat.jpg\ttrain/1017_mask.png\n")
    (tmp_path / "ghost.txt").write_text("1017\n7\n")
    lists = {"data.lists.train": "ids.txt", "data.lists.val": "files.txt", "data.lists.test": "ghost.txt"}
    config = configured({**keys, **lists})
    assert sorted(p.image.name for p in files(config, "train").pairs) == ["1000_sat.jpg", "1017_sat.jpg"]
    assert [p.image.name for p in files(config, "val").pairs] == ["1017_sat.jpg"]
    with pytest.raises(MagNetError, match=r"without their image, the first '.*7_sat\.jpg'"):
        files(config, "test")
