"""Data that a list or a YAML file describes, wrongly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from faults.layouts.table import layout, with_keys
from sample_data import list_sample, yaml_sample


@layout("train/ids/n0.npy' and ", "more: .npy is not read; save the labels as 'n0.png'")
def yaml_labels_are_arrays(path: Path) -> list[str]:
    yaml_sample(path / "d")
    for file in sorted((path / "d" / "train" / "ids").iterdir()):
        file.rename(file.with_suffix(".npy"))
    return [str(path / "d" / "data.yaml")]


@layout("labels/p1.png' is a pipe", "copy what comes from it to a file")
def list_with_a_pipe(path: Path) -> list[str]:
    keys = list_sample(path / "d")
    label = path / "d" / "annotations" / "n0_ids.png"
    label.unlink()
    (path / "d" / "labels").mkdir()
    os.mkfifo(path / "d" / "labels" / "p1.png")
    (path / "d" / "train.lst").write_text("pictures/n1.jpg\tannotations/n1_ids.png\npictures/n0.jpg\tlabels/p1.png\n")
    return with_keys(path, keys)


def _list(path: Path, change: Callable[[str], str]) -> list[str]:
    keys = list_sample(path / "d")
    file = path / "d" / "train.lst"
    file.write_text(change(file.read_text()))
    return with_keys(path, keys)


@layout("expected lines image<TAB>label", "separated by a TAB, not by a comma")
def list_with_commas(path: Path) -> list[str]:
    return _list(path, lambda text: text.replace("\t", ","))


@layout("separated by a TAB, not by a space")
def list_with_spaces(path: Path) -> list[str]:
    return _list(path, lambda text: text.replace("\t", " "))


@layout("'pictures/n0.jpg' is listed twice; remove one")
def list_with_an_image_twice(path: Path) -> list[str]:
    return _list(path, lambda text: text + text.splitlines()[0] + "\n")


@layout("labels without an image", "/d/d/pictures/n0.jpg", "no image of the split 'train' has its labels")
def list_relative_to_another_folder(path: Path) -> list[str]:
    return _list(path, lambda text: text.replace("pictures", "d/pictures"))


@layout("the columns may be swapped: image<TAB>label")
def list_with_swapped_columns(path: Path) -> list[str]:
    return _list(path, lambda text: "".join("\t".join(line.split("\t")[::-1]) + "\n" for line in text.splitlines()))


@layout("'pictures/n0.jpg' is listed as its own label")
def list_with_one_file_twice_in_a_line(path: Path) -> list[str]:
    return _list(path, lambda text: "pictures/n0.jpg\tpictures/n0.jpg\n" + text.split("\n", 1)[1])


@layout("classes.txt' (No such file or directory); list the classes")
def list_without_classes(path: Path) -> list[str]:
    words = _list(path, str)
    (path / "d" / "classes.txt").unlink()
    return words


@layout("the class name 'a' twice")
def list_with_a_class_name_twice(path: Path) -> list[str]:
    return [*_list(path, str), "--data.classes", "[a,a]"]


# yaml


def _yaml(path: Path, old: str, new: str) -> list[str]:
    yaml_sample(path / "d")
    file = path / "d" / "data.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return [str(file)]


@layout("is not YAML", "mend it")
def yaml_that_is_none(path: Path) -> list[str]:
    return _yaml(path, "classes: [", "classes: ][")


@layout("unknown key 'names'; known are root, classes")
def yaml_with_an_unknown_key(path: Path) -> list[str]:
    return _yaml(path, "classes:", "names:")


@layout("the key '10' is given twice); mend it")
def yaml_with_a_value_mapped_twice(path: Path) -> list[str]:
    return _yaml(path, "{10: 0, 20: 1}", "{10: 0, 20: 1, 10: 1}")


@layout("the class name 'ground' twice")
def yaml_with_a_class_name_twice(path: Path) -> list[str]:
    return _yaml(path, "[ground, thing]", "[ground, ground]")


@layout("holds [20], which are mapped to no class and are not ignored; mend the labels or the mapping")
def yaml_with_a_value_left_out(path: Path) -> list[str]:
    return _yaml(path, "{10: 0, 20: 1}", "{10: 0}")


@layout("no pixel of the training labels is of class 1 (thing)", "hold the values 10, 20, 30", "mend the labels")
def yaml_with_two_values_of_one_class(path: Path) -> list[str]:
    return _yaml(path, "{10: 0, 20: 1}", "{10: 0, 20: 0}")


@layout("has no split 'train'; add 'train: {images: ..., labels: ...}'")
def yaml_without_train(path: Path) -> list[str]:
    return _yaml(path, "train: {images: train/rgb, labels: train/ids}\n", "")


@layout("no pair at all: image and labels have one name up to the suffix, not 'n0.jpg' and 'n0_ids.png'")
def yaml_with_labels_named_otherwise(path: Path) -> list[str]:
    words = _yaml(path, "classes", "classes")
    for file in sorted((path / "d" / "train" / "ids").iterdir()):
        file.rename(file.with_name(f"{file.stem}_ids.png"))
    return words


@layout("classes: expected a list of class names")
def yaml_with_classes_that_are_no_names(path: Path) -> list[str]:
    return _yaml(path, "[ground, thing]", "[[ground], 2.5]")
