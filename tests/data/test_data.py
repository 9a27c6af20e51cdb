"""Data folders: what they hold, and one clear error for each thing that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import tiny_folder

from magnet.data import DataFolder, ScaleCache, read_labels, resize_labels
from magnet.errors import MagNetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


def test_a_split_gives_images_labels_and_names(folder: Path) -> None:
    data = DataFolder(folder, "train")
    assert len(data) == 4 and data.num_classes == 2 and data.class_names == ["ground", "thing"]
    image, labels = data.load(1)
    assert image.shape == (64, 96, 3) and image.dtype == np.uint8
    assert labels.shape == (64, 96) and set(np.unique(labels)) == {0, 1, 255}
    assert data.name(1) == "p1"


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match=r"nowhere.*does not exist"):
        DataFolder(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("part", ["images", "labels"])
def test_missing_subfolder(folder: Path, part: str) -> None:
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(MagNetError, match=f"no {part}/"):
        DataFolder(folder, "train")


@pytest.mark.parametrize("name", ["train.txt", "classes.txt"])
def test_missing_list(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MagNetError, match=name):
        DataFolder(folder, "train")


def test_empty_split(folder: Path) -> None:
    (folder / "val.txt").write_text("\n  \n")
    with pytest.raises(MagNetError, match=r"'val' of .* is empty"):
        DataFolder(folder, "val")


def test_listed_but_absent_files_are_named(folder: Path) -> None:
    (folder / "val.txt").write_text("ghost\n")
    with pytest.raises(MagNetError, match="ghost"):
        DataFolder(folder, "val")
    (folder / "labels" / "p0.png").unlink()
    with pytest.raises(MagNetError, match=r"p0\.png"):
        DataFolder(folder, "train")


@pytest.mark.parametrize("text", ["0 a\n2 b\n", "", "a b\n"])
def test_bad_class_lists(folder: Path, text: str) -> None:
    (folder / "classes.txt").write_text(text)
    with pytest.raises(MagNetError, match=r"classes\.txt"):
        DataFolder(folder, "train")


def test_sizes_that_differ_name_both_files(folder: Path) -> None:
    Image.fromarray(np.zeros((64, 95), np.uint8)).save(folder / "labels" / "p0.png")
    with pytest.raises(MagNetError, match=r"p0\.jpg' is 64x96 .*p0\.png' are 64x95"):
        DataFolder(folder, "train").load(0)


def test_labels_outside_the_classes(folder: Path) -> None:
    Image.fromarray(np.full((64, 96), 7, np.uint8)).save(folder / "labels" / "p0.png")
    with pytest.raises(MagNetError, match=r"p0\.png' holds \[7\].*0\.\.1"):
        DataFolder(folder, "train").load(0)


@pytest.mark.parametrize("name", ["images/p0.jpg", "labels/p0.png"])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(MagNetError, match=Path(name).name):
        DataFolder(folder, "train").load(0)


def test_colour_labels_are_refused(folder: Path) -> None:
    Image.new("RGB", (96, 64)).save(folder / "labels" / "p0.png")
    with pytest.raises(MagNetError, match=r"mode RGB.*p0\.png"):
        read_labels(folder / "labels" / "p0.png")


def test_palette_and_one_bit_labels_keep_their_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    one_bit = tmp_path / "one.png"
    Image.fromarray(ids * 255).convert("1").save(one_bit)
    np.testing.assert_array_equal(read_labels(one_bit, 2), ids)
    palette = Image.fromarray(ids, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.png", 2), ids)


def test_resize_labels_takes_the_pixel_under_the_centre() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(resize_labels(labels, (3, 2)), labels[:, 1::2])
    np.testing.assert_array_equal(resize_labels(labels, (6, 8)), labels.repeat(2, 0).repeat(2, 1))


def test_scales_larger_than_the_image_are_not_used(folder: Path) -> None:
    cache = ScaleCache(DataFolder(folder, "val"), [(32, 48), (64, 96), (128, 192)])
    assert cache.scales_of(0) == [0, 1]
    image, labels = cache.get(0, 0)
    assert image.shape == (32, 48, 3) and labels.shape == (32, 48)


def test_the_cache_keeps_no_more_than_its_limit_and_still_answers(folder: Path) -> None:
    data = DataFolder(folder, "train")
    sizes = [(32, 48), (64, 96)]
    roomy, tight = ScaleCache(data, sizes), ScaleCache(data, sizes, limit_mb=0)
    for cache in (roomy, tight):
        cache.preload()
    for index in (0, 3, 1, 0):
        for scale in (0, 1):
            for a, b in zip(tight.get(index, scale), roomy.get(index, scale), strict=True):
                np.testing.assert_array_equal(a, b)
            assert roomy.kept(index, scale) is not None and tight.kept(index, scale) is None
