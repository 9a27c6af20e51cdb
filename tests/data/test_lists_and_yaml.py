"""Data that a list or a YAML file describes: lines, names, mappings, and labels by value or by colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_data import SAMPLES, configured, files, save, yaml_sample

from magnet.data import YamlData
from magnet.data.labels import ClassColours, ClassIds
from magnet.data.lists import read_list
from magnet.errors import MagNetError


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
