"""Readers of data sets in the layouts they are distributed in, opened as a configuration opens them: what all share."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_data import (
    COUNTS,
    SAMPLES,
    arguments,
    cityscapes_sample,
    configured,
    deepglobe_sample,
    disc,
    files,
    save,
    yaml_sample,
)
from tiny_data import tiny_folder

from magnet.cli.config import parse_config
from magnet.data import Cityscapes, DataFolder, DeepGlobe, GeneratedScenes, colours_of, detect_format, open_split
from magnet.data.config import DataConfig
from magnet.data.splits import seeded_split
from magnet.errors import MagNetError

RUN = ["--name", "x", "--walk.scales", "[[32,48],[64,96]]", "--walk.patch_size", "[32,48]"]
WHAT = {  # what ``disc`` was given, and the classes that must come of it
    "cityscapes": ((7, 26, 1), (0, 13, 255)),
    "deepglobe": ((1, 2, 0), (1, 4, 255)),
    "gleason": ((1, 4, 0), (1, 3, 0)),
    "list": ((0, 1, 255), (0, 1, 255)),
    "yaml": ((10, 20, 30), (0, 1, 255)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_image_comes_with_its_own_labels(name: str, tmp_path: Path) -> None:
    config = configured(SAMPLES[name](tmp_path / "data"))
    discs = [disc(number, *WHAT[name][1]) for number in range(15)]
    seen: set[str] = set()
    for split in ("train", "val") if name == "cityscapes" else COUNTS:
        dataset: Any = pickle.loads(pickle.dumps(files(config, split)))
        assert len(dataset) > 0 and len({dataset.name(i) for i in range(len(dataset))} - seen) == len(dataset)
        for index in range(len(dataset)):
            seen.add(dataset.name(index))
            image, labels = dataset.load(index)
            assert (image.dtype, labels.dtype) == (np.uint8, np.uint8) and dataset.size(index) == labels.shape
            # the one disc that it is, by its image, has these labels
            (number,) = [i for i, (own, _) in enumerate(discs) if np.abs(own.astype(int) - image).mean() < 15]
            np.testing.assert_array_equal(labels, discs[number][1])
        assert dataset.num_classes == len(dataset.class_names)
        assert colours_of(dataset) is None or len(colours_of(dataset)) == dataset.num_classes
    assert len(seen) == {"cityscapes": 6, "gleason": 15}.get(name, 8)


@pytest.mark.parametrize("name", ["list", "gleason"])
def test_the_command_line_configures_the_same(name: str, tmp_path: Path) -> None:
    keys = SAMPLES[name](tmp_path / "data") | ({"data.annotator": "3"} if name == "gleason" else {})
    config = parse_config([*RUN, *arguments(keys)]).data
    assert config == configured(keys | ({"data.annotator": 3} if name == "gleason" else {}))


@pytest.mark.parametrize("name", ["cityscapes", "deepglobe", "gleason"])
def test_the_root_alone_is_enough(name: str, tmp_path: Path) -> None:
    SAMPLES[name](tmp_path / "data")
    assert detect_format(tmp_path / "data") == name
    assert len(files(DataConfig(root=str(tmp_path / "data"), format=name), "train")) > 3


def test_a_root_that_is_a_data_folder_is_enough(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data")
    assert detect_format(folder) == "folder"
    assert len(files(DataConfig(root=str(folder)), "train")) == 4


@pytest.mark.parametrize("make", [lambda path: path / "nowhere", lambda path: path])
def test_no_layout_is_recognised(make: Any, tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match=r"does not exist|layout of none"):
        detect_format(make(tmp_path))


def test_official_colours(tmp_path: Path) -> None:
    data = files(configured(cityscapes_sample(tmp_path / "c")), "train")
    colours = dict(zip(data.class_names, colours_of(data) or [], strict=True))
    assert colours["road"] == (128, 64, 128) and colours["bicycle"] == (119, 11, 32)
    assert colours_of(files(configured(yaml_sample(tmp_path / "y")), "val")) == [(40, 40, 40), (250, 200, 0)]
    assert colours_of(DataFolder(tiny_folder(tmp_path / "f"), "val")) is None
    scenes = GeneratedScenes(1, (256, 256), 0)
    assert len(colours_of(scenes) or []) == scenes.num_classes


def test_the_seeded_split_is_the_same_everywhere_and_leaves_nothing_out() -> None:
    names = [f"n{i}" for i in range(20)]
    parts = {s: seeded_split(names, s, val=0.2, test=0.1, seed=0) for s in COUNTS}
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert (len(parts["val"]), parts["test"]) == (4, ["n1", "n5"])  # pinned: other machines must agree
    assert parts == {s: seeded_split(names[::-1], s, val=0.2, test=0.1, seed=0) for s in COUNTS}
    assert parts["test"] != seeded_split(names, "test", val=0.2, test=0.1, seed=1)
    for val, test in ((0.6, 0.4), (-0.1, 0.2)):
        with pytest.raises(MagNetError, match=r"data\.split"):
            seeded_split(names, "train", val=val, test=test, seed=0)


def test_fractions_of_the_split_can_be_set(tmp_path: Path) -> None:
    keys = deepglobe_sample(tmp_path)
    config = configured({**keys, "data.split.val": 0.5, "data.split.test": 0.25})
    assert [len(files(config, split)) for split in ("train", "val", "test")] == [2, 4, 2]
    with pytest.raises(MagNetError, match=r"'val' of .* is empty"):
        files(configured({**keys, "data.split.val": 0.0}), "val")


# what configurations ask for


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"data.format": "yaml"}, r"data\.file: expected the YAML file"),
        ({"data.format": "list"}, r"data\.lists\.train: expected a list"),
        ({"data.format": "gleason", "data.folders": ["a"]}, r"data\.folders: expected none with data\.format gleason"),
        ({"data.format": "deepglobe"}, r"'.*train', which does not exist; set data\.root"),
        ({"data.format": "gleason"}, r"'.*Train Imgs', which does not exist; set data\.root"),
    ],
)
def test_what_a_format_needs(keys: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match=told):
        open_split(configured({"data.root": str(tmp_path), **keys}), "train")


@pytest.mark.parametrize("key", ["data.format=pascal", "data.annotator=7", "data.corrupt=hide", "data.frmat=folder"])
def test_wrong_keys_and_values_exit_with_2(key: str) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_config([*RUN, f"--{key}"])
    assert stop.value.code == 2


def test_wrong_splits(tmp_path: Path) -> None:
    for make in (Cityscapes, DeepGlobe):
        (tmp_path / "train").mkdir(exist_ok=True)
        save(np.zeros((2, 2, 3), np.uint8), tmp_path / "train" / "1_sat.jpg")
        with pytest.raises(MagNetError, match="split: expected train, val or test"):
            make(tmp_path, "extra")


def test_corrupt_files_are_an_error_or_are_named_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = SAMPLES["list"](tmp_path)
    image, label = tmp_path / "pictures" / "n1.jpg", tmp_path / "annotations" / "n2_ids.png"
    for path in (image, label):
        path.write_bytes(path.read_bytes()[:-200] if path == image else path.read_bytes()[:60])
    whole = files(configured(keys), "train")
    assert len(whole) == 4 and not caplog.messages
    for index, path in ((1, image), (2, label)):
        with pytest.raises(MagNetError, match=path.name):
            whole.load(index)
    config = configured({**keys, "data.corrupt": "skip"})
    kept = files(config, "train")
    assert [kept.name(i) for i in range(len(kept))] == ["n0", "n3"]
    np.testing.assert_array_equal(kept.load(1)[0], whole.load(3)[0])
    (message,) = caplog.messages
    assert "skipping 2 unreadable of 4 images of the split 'train'" in message
    assert "n1.jpg" in message and "n2_ids.png" in message
    assert len(files(config, "val")) == 2 and len(caplog.messages) == 1
    for path in (tmp_path / "pictures").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(MagNetError, match=r"none of the 4 images of the split 'train'"):
        files(config, "train")


def test_only_what_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    keys = SAMPLES["list"](tmp_path)
    save(np.zeros((64, 95), np.uint8), tmp_path / "annotations" / "n0_ids.png")
    save(np.full((64, 96), 9, np.uint8), tmp_path / "annotations" / "n1_ids.png")
    data = files(configured({**keys, "data.corrupt": "skip"}), "train")
    assert len(data) == 4
    for index, told in ((0, "must be of one size"), (1, r"holds \[9\]")):
        with pytest.raises(MagNetError, match=told):
            data.load(index)
    with pytest.raises(MagNetError, match=r"n0\.jpg' is 64x96 .*n0_ids\.png' are 64x95"):
        data.size(0)


def test_the_size_of_an_image_on_its_side(tmp_path: Path) -> None:
    data = files(configured(SAMPLES["list"](tmp_path)), "train")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(data.pairs[0].image) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(data.pairs[0].image, exif=exif)
    assert data.size(0) == data.load(0)[0].shape[:2] == (64, 96)
