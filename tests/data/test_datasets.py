"""Readers of data sets in the layouts they are distributed in, opened as a configuration opens them."""

from __future__ import annotations

import functools
import pickle
import shutil
from collections.abc import Mapping
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
    deepglobe_sample,
    disc,
    gleason_sample,
    save,
    yaml_sample,
)
from tiny_data import tiny_folder

from magnet.cli.config import parse_config
from magnet.data import (
    Cityscapes,
    DataFolder,
    DeepGlobe,
    GeneratedScenes,
    Gleason,
    LabelledFiles,
    ScaleCache,
    YamlData,
    colours_of,
    detect_format,
    open_split,
)
from magnet.data.config import DataConfig, ListsConfig
from magnet.data.gleason import majority
from magnet.data.labels import ClassColours, ClassIds
from magnet.data.lists import read_list
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


def configured(keys: Mapping[str, Any]) -> DataConfig:
    """The configuration that has the keys ``data.*``, without the time that the command line takes."""
    config = DataConfig()
    for key, value in keys.items():
        *sections, name = key.removeprefix("data.").split(".")
        owner = functools.reduce(getattr, sections, config)
        assert hasattr(owner, name)
        setattr(owner, name, value)
    return config


def files(config: DataConfig, split: str) -> LabelledFiles:
    (dataset,) = open_split(config, split)
    assert isinstance(dataset, LabelledFiles)
    return dataset


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


# Cityscapes


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


# DeepGlobe


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


# Gleason


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


# lists and YAML


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.png\tb.png\tc.png\n", r"line 1: expected image<TAB>label"),
        ("x\n\na.png\t\n", None),
        ("a\tb\na\tc\n", r"line 2: 'a' is listed twice"),
        (" \n", "is empty"),
    ],
)
def test_list_lines(text: str, told: str | None, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(text)
    if told is None:
        assert read_list(tmp_path / "l.txt") == [("x", None), ("a.png", None)]
        return
    with pytest.raises(MagNetError, match=told):
        read_list(tmp_path / "l.txt")


def test_lists_need_files_that_are_there(tmp_path: Path) -> None:
    config = configured(SAMPLES["list"](tmp_path))
    (tmp_path / "val.lst").write_text("pictures/n4.jpg\n")
    with pytest.raises(MagNetError, match=r"expected lines image<TAB>label, got 'pictures/n4\.jpg'"):
        files(config, "val")
    (tmp_path / "val.lst").write_text("pictures/n4.jpg\tannotations/none.png\n")
    with pytest.raises(MagNetError, match=r"without their labels, the first '.*n4\.jpg'"):
        files(config, "val")
    with pytest.raises(MagNetError, match=r"data\.lists\.extra: expected a list"):
        files(config, "extra")


def test_names_of_a_list_come_from_the_configuration_or_a_file(tmp_path: Path) -> None:
    keys = SAMPLES["list"](tmp_path)
    (tmp_path / "names.txt").write_text("0 a\n1 b\n2 c\n")
    assert files(configured(keys), "val").class_names == ["ground", "thing"]
    assert files(configured({**keys, "data.classes": ["u", "v"]}), "val").class_names == ["u", "v"]
    assert files(configured({**keys, "data.classes": ["names.txt"]}), "val").class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("classes:", "klasses:", "unknown key 'klasses'"),
        ("classes: [ground, thing]", "classes: {0: ground, 2: thing}", "classes: expected a list of class names"),
        ("classes: [ground, thing]", "classes: 3", "classes: expected a list of class names"),
        ("{10: 0, 20: 1}", "{10: 0, 20: 2}", r"mapping: expected class ids 0\.\.1"),
        ("{10: 0, 20: 1}", "{10: 0, 300: 1}", r"mapping: expected class ids 0\.\.1"),
        ("ignore: [30]", "ignore: [many]", "ignore: expected a list of label values"),
        ("ignore: [30]", "ignore: 0", "ignore: expected a list of label values"),
        ("classes: [", "root: 0\nclasses: [", r"/0/val\.txt'"),
        ("[250, 200, 0]]", "[250, 200]]", "colours: expected 2 colours"),
        ("{list: val.txt}", "{lists: val.txt}", r"val: expected \{images: FOLDER"),
        ("val: {list: val.txt}", "", "has no split 'val'"),
        ("{list: val.txt}", "{images: nowhere, labels: train/ids}", "'.*nowhere' does not exist"),
        ("classes: [", "classes: ][", "is not YAML"),
        ("ignore: [30]", "", r"holds \[30\], which are mapped to no class"),
    ],
)
def test_mistakes_in_a_yaml_file(old: str, new: str, told: str, tmp_path: Path) -> None:
    config = configured(yaml_sample(tmp_path))
    path = tmp_path / "data.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(MagNetError, match=told):
        files(config, "val").load(0)


def test_yaml_without_a_mapping_and_with_names_by_id(tmp_path: Path) -> None:
    yaml_sample(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.yaml").write_text(
        "root: ..\nclasses: {1: b, 0: a}\nignore: [10, 30, 1]\ntrain: {images: train/rgb, labels: train/ids}\n"
    )
    data = YamlData(tmp_path / "sub" / "d.yaml", "train")
    assert data.class_names == ["a", "b"]
    with pytest.raises(MagNetError, match=r"holds \[20\], but the classes are 0\.\.1"):
        data.load(0)


def test_splits_of_a_yaml_file_may_share_a_folder_of_labels(tmp_path: Path) -> None:
    config = configured(yaml_sample(tmp_path))
    for path in (tmp_path / "test" / "ids").iterdir():
        path.rename(tmp_path / "train" / "ids" / path.name)
    with pytest.raises(MagNetError, match="2 labels without their image"):
        files(config, "train")
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text.replace("labels: test/ids", "labels: train/ids"))
    assert len(files(config, "train")) == 4 and len(files(config, "test")) == 2


def test_an_ignored_value_stays_ignored_where_it_is_a_class(tmp_path: Path) -> None:
    save(np.array([[0, 1, 2, 255]], np.uint8), tmp_path / "l.png")
    labels, strange, *_ = ClassIds(3, ignored=[1]).read(tmp_path / "l.png")
    assert labels.tolist() == [[0, 255, 2, 255]] and not strange
    labels, strange, *_ = ClassIds(2, {255: 0, 0: 1}).read(tmp_path / "l.png")
    assert labels.tolist() == [[1, 255, 255, 0]] and strange == {"1": 1, "2": 1}


def test_palette_and_alpha_colour_labels(tmp_path: Path) -> None:
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0] = (0, 255, 0)
    save(np.dstack([rgb, np.full((2, 2), 9, np.uint8)]), tmp_path / "a.png")
    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    code = ClassColours({(0, 255, 0): 1, (0, 0, 0): 0})
    for name in ("a.png", "p.png"):
        labels, strange, *_ = code.read(tmp_path / name)
        assert labels.tolist() == [[1, 1], [0, 0]] and not strange
    save(np.zeros((2, 2), np.uint8), tmp_path / "grey.png")
    with pytest.raises(MagNetError, match=r"mode L: '.*grey\.png'"):
        code.read(tmp_path / "grey.png")


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
