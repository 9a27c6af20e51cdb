"""Wrong layouts of data sets that people bring, and what ``magnet data check`` says to mend each.

Each builder writes a data set with one fault below a folder that is there, and returns the words after
``magnet data check``. ``told`` are parts of what must be shown: what was found, and what is wanted in its place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from sample_data import arguments, cityscapes_sample, deepglobe_sample, gleason_sample, list_sample, save, yaml_sample
from tiny_data import tiny_folder

__all__ = ["LAYOUTS", "Layout"]

FEW = ["--data.accept", "[absent]"]  # the samples of data sets with classes of their own hold a few of these


class Layout(NamedTuple):
    """A wrong layout."""

    name: str
    build: Callable[[Path], list[str]]
    told: tuple[str, ...]


LAYOUTS: list[Layout] = []


def layout(*told: str) -> Callable[[Callable[[Path], list[str]]], Callable[[Path], list[str]]]:
    def add(build: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        LAYOUTS.append(Layout(build.__name__, build, told))
        return build

    return add


# folder


def _folder(path: Path) -> Path:
    return tiny_folder(path / "d", size=(32, 48), counts=(3, 1, 1))


def _each_label(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    for file in sorted((folder / "labels").iterdir()):
        save(change(np.array(Image.open(file))), file)
    return [str(folder)]


def _rename(folder: Path, part: str, name: Callable[[Path], str]) -> list[str]:
    for file in sorted((folder / part).iterdir()):
        file.rename(file.with_name(name(file)))
    return [str(folder)]


def _write(folder: Path, name: str, text: str | bytes) -> list[str]:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return [str(folder)]


@layout("labels/p0.tif' and 2 more: PNG is wanted", "p0.png")
def folder_labels_are_tiff(path: Path) -> list[str]:
    folder = _folder(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file.with_suffix(".tif"))
        file.unlink()
    return [str(folder)]


@layout("labels/p0.jpg' and 2 more: PNG is wanted", "from their source, as JPEG changes ids")
def folder_labels_are_jpeg(path: Path) -> list[str]:
    folder = _folder(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    return [str(folder)]


@layout("p0.png' is JPEG, which changes ids", "PNG is wanted", "data.accept: [lossy]")
def folder_labels_are_jpeg_by_another_name(path: Path) -> list[str]:
    folder = _folder(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file, format="JPEG")
    return [str(folder)]


@layout("lists 'p0.jpg' and 2 more", "stems, without suffix and folder, are wanted: 'p0'")
def folder_lists_hold_suffixes(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0.jpg\np1.jpg\np2.jpg\n")


@layout("lists 'images/p0.jpg' and 2 more", "are wanted: 'p0'")
def folder_lists_hold_paths(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "images/p0.jpg\nimages/p1.jpg\nimages/p2.jpg\n")


@layout("lists 'p0.jpg\tp0.png' and 1 more", "set data.format list")
def folder_lists_hold_pairs(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0.jpg\tp0.png\np1.jpg\tp1.png\n")


@layout("lists 'p0' twice", "remove one")
def folder_lists_a_name_twice(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0\np1\np0\np2\n")


@layout("train.txt of '", "lists 'ghost', which is neither in images/ nor in labels/", "take it out of the list")
def folder_lists_what_is_not_there(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0\np1\nghost\np2\n")


@layout("lists 'P0' and 2 more, which is neither in images/ nor in labels/; did you mean 'p0'?")
def folder_lists_names_in_upper_case(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "P0\nP1\nP2\n")


@layout("lists 'pp0', which is neither in images/ nor in labels/; did you mean 'p0'?")
def folder_lists_a_slip(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "pp0\np1\np2\n")


@layout("lists 'p0.jpg,p0.png' and 1 more; stems, one a line, are wanted: 'p0'")
def folder_lists_pairs_by_commas(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0.jpg,p0.png\np1.jpg, p1.png\np2\n")


@layout("lists 'images/p0.jpg labels/p0.png' and 2 more; stems, without suffix and folder, are wanted: 'p0'")
def folder_lists_pairs_by_blanks(path: Path) -> list[str]:
    lines = [f"images/p{i}.jpg labels/p{i}.png\n" for i in range(3)]
    return _write(_folder(path), "train.txt", "".join(lines))


@layout("lists '# train'; stems, one a line, are wanted: take the line out")
def folder_lists_begin_with_a_comment(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "# train\np0\np1\np2\n")


@layout("labels/p0.npy' and 2 more: .npy is not read; save the labels as 'p0.png', 8-bit ids")
def folder_labels_are_arrays(path: Path) -> list[str]:
    return _rename(_folder(path), "labels", lambda file: f"{file.stem}.npy")


@layout("labels/p0.txt' and 2 more: .txt is not read; save the labels as 'p0.png', 8-bit ids")
def folder_labels_are_boxes(path: Path) -> list[str]:
    folder = _folder(path)
    for file in sorted((folder / "labels").iterdir()):
        file.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
        file.unlink()
    return [str(folder)]


@layout("images/p0.gif' and 2 more: .gif is not read; save the images as PNG or JPEG")
def folder_images_are_gif(path: Path) -> list[str]:
    return _rename(_folder(path), "images", lambda file: f"{file.stem}.gif")


@layout("labels/p0.png' is a link to what is not there; put the file itself there (3 of these)")
def folder_labels_are_dead_links(path: Path) -> list[str]:
    folder = _folder(path)
    for number in range(3):
        (folder / "labels" / f"p{number}.png").unlink()
        (folder / "labels" / f"p{number}.png").symlink_to(f"elsewhere/p{number}.png")
    return [str(folder)]


@layout("images/p1.jpg' is a pipe; copy what comes from it to a file")
def folder_image_is_a_pipe(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "images" / "p1.jpg").unlink()
    os.mkfifo(folder / "images" / "p1.jpg")
    return [str(folder)]


@layout("the class name 'Road' twice, for 0 and 1 (there as 'road', which makes no difference)", "a name of its own")
def folder_class_name_twice_but_for_upper_case(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0 Road\n1 road\n255 ignore\n")


@layout("palette whose entry 0 is the grey 1", "save the ids as 8-bit grey, without a palette")
def folder_labels_with_quantised_greys(path: Path) -> list[str]:
    folder = _folder(path)
    for file in sorted((folder / "labels").iterdir()):
        ids = np.array(Image.open(file))
        image = Image.fromarray((ids == 0).astype(np.uint8), mode="P")  # entry 1 is the grey 0
        image.putpalette([1, 1, 1, 0, 0, 0])
        image.save(file)
    return [str(folder)]


@layout("train/ids/n0.npy' and ", "more: .npy is not read; save the labels as 'n0.png'")
def yaml_labels_are_arrays(path: Path) -> list[str]:
    yaml_sample(path / "d")
    for file in sorted((path / "d" / "train" / "ids").iterdir()):
        file.rename(file.with_suffix(".npy"))
    return [str(path / "d" / "data.yaml")]


@layout("train.txt' is not UTF-8", "save it as UTF-8")
def folder_list_is_utf16(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "p0\np1\np2\n".encode("utf-16"))


@layout("the split 'train'", "is empty; list file stems in train.txt")
def folder_list_is_empty(path: Path) -> list[str]:
    return _write(_folder(path), "train.txt", "\n")


@layout("cannot read", "train.txt' (No such file or directory); list the file stems")
def folder_without_a_list(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "train.txt").unlink()
    return [str(folder)]


@layout("p0.jpg' and 2 more seem to be '", "p0_mask.png'", "rename it to 'p0.png'")
def folder_labels_are_named_otherwise(path: Path) -> list[str]:
    return _rename(_folder(path), "labels", lambda file: f"{file.stem}_mask.png")


@layout("has no labels/ folder, but images/, masks/", "name the folder of the labels so")
def folder_labels_are_in_masks(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "labels").rename(folder / "masks")
    return [str(folder)]


@layout("images' holds its images in folders (train/, val/)", "put them directly into it", "data.format list")
def folder_images_are_nested(path: Path) -> list[str]:
    folder = _folder(path)
    for number, file in enumerate(sorted((folder / "images").iterdir())):
        target = folder / "images" / ("train" if number < 3 else "val") / file.name
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
    return [str(folder)]


@layout("labels' holds its images in folders (train/)", "put them directly into it")
def folder_labels_are_nested(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "labels").rename(folder / "train")
    (folder / "labels").mkdir()
    (folder / "train").rename(folder / "labels" / "train")
    return [str(folder)]


@layout("p0.jpg' and '", "p0.png' have one name; remove one")
def folder_has_an_image_twice(path: Path) -> list[str]:
    folder = _folder(path)
    Image.open(folder / "images" / "p0.jpg").save(folder / "images" / "p0.png")
    return [str(folder)]


@layout("images without labels: ", "images/p1.jpg")
def folder_lacks_a_label_file(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "labels" / "p1.png").unlink()
    return [str(folder)]


@layout("p0.jpg is in train and val")
def folder_has_an_image_in_two_splits(path: Path) -> list[str]:
    return _write(_folder(path), "val.txt", "p0\np3\n")


@layout("cannot read", "classes.txt' (No such file or directory); list the classes, one 'id name' a line")
def folder_without_classes(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "classes.txt").unlink()
    return [str(folder)]


@layout("expected 'id name', got 'ground'", "begin each line with the id and a space: 0 background")
def folder_classes_without_ids(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "ground\nthing\n")


@layout("expected 'id name', got '0,ground'", "the id and a space")
def folder_classes_with_commas(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0,ground\n1,thing\n")


@layout("expected ids 0, 1, 2, ... without gaps, got [1, 2]", "number the classes from 0", "data.format yaml")
def folder_classes_from_one(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "1 ground\n2 thing\n")


@layout("the id 0 is listed twice", "an id of its own")
def folder_class_id_twice(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0 ground\n0 thing\n")


@layout("the class name 'ground' twice, for 0 and 1", "a name of its own")
def folder_class_name_twice(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0 ground\n1 ground\n")


@layout("has 1 class (thing)", "name what surrounds it, too: 0 background, 1 thing")
def folder_of_one_class(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0 thing\n")


@layout("255 is always ignored, so it cannot be the class 'thing'", "`mapping: {..., 255: 1}`", "255 ignore")
def folder_class_of_id_255(path: Path) -> list[str]:
    return _write(_folder(path), "classes.txt", "0 ground\n255 thing\n")


@layout("no pixel of the training labels is of class 1 (thing)", "`mapping: {0: 0, 255: 1}`", "data.accept: [absent]")
def folder_masks_of_0_and_255(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: np.where(labels == 1, 255, 0).astype(np.uint8))


@layout("class 1 (thing)", "every label pixel is 0, as after a division by 255: write the labels anew")
def folder_masks_divided_to_0(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: labels * 0)


@layout("class 2 (third)", "hold the values 0, 1, 255", "`mapping: {0: 0, 1: 1, 255: 2}`")
def folder_third_class_is_255(path: Path) -> list[str]:
    folder = _folder(path)
    _write(folder, "classes.txt", "0 ground\n1 thing\n2 third\n")
    return [str(folder)]


@layout("56% of the pixels of the training labels are 255", "declare it: a line '255 ignore' in classes.txt")
def folder_half_is_ignored(path: Path) -> list[str]:
    folder = _folder(path)
    _write(folder, "classes.txt", "0 ground\n1 thing\n")

    def change(labels: np.ndarray) -> np.ndarray:
        labels[:18] = 255
        labels[18:20, :20] = 1
        return labels

    return _each_label(folder, change)


@layout("holds [2], but the classes are 0..1", "map the values: `mapping: {1: 0, 2: 1}`", "data.format yaml")
def folder_labels_from_one(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: np.where(labels == 255, 255, labels + 1).astype(np.uint8))


@layout("expected an 8-bit image of class ids, got mode RGB", "one 8-bit channel (grey, or a palette), not as colours")
def folder_labels_are_colours(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: np.stack([labels] * 3, -1))


@layout("got mode I;16", "save the class ids as 8-bit values")
def folder_labels_of_16_bits(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: labels.astype(np.uint16))


@layout("is 32x48 (HxW), but its labels", "are 16x24; they must be of one size")
def folder_labels_of_half_the_size(path: Path) -> list[str]:
    return _each_label(_folder(path), lambda labels: np.ascontiguousarray(labels[::2, ::2]))


@layout("p0.png' is corrupt or not an image", "replace the file")
def folder_labels_are_no_images(path: Path) -> list[str]:
    folder = _folder(path)
    for file in (folder / "labels").iterdir():
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return [str(folder)]


@layout("labels/p1.png' is a pipe", "copy what comes from it to a file")
def list_with_a_pipe(path: Path) -> list[str]:
    keys = list_sample(path / "d")
    label = path / "d" / "annotations" / "n0_ids.png"
    label.unlink()
    (path / "d" / "labels").mkdir()
    os.mkfifo(path / "d" / "labels" / "p1.png")
    (path / "d" / "train.lst").write_text("pictures/n1.jpg\tannotations/n1_ids.png\npictures/n0.jpg\tlabels/p1.png\n")
    return _with_keys(path, keys)


@layout("has the layout of none of", "'", "looks like folder: is it that folder?")
def folder_one_level_too_high(path: Path) -> list[str]:
    return [str(_folder(path / "up").parent)]


@layout("has the layout of none of", "it holds images_2024/, masks_2024/", "a YAML file that describes the data")
def folder_of_no_layout(path: Path) -> list[str]:
    folder = _folder(path)
    (folder / "images").rename(folder / "images_2024")
    (folder / "labels").rename(folder / "masks_2024")
    for file in folder.glob("*.txt"):
        file.unlink()
    return [str(folder)]


# list


def _with_keys(path: Path, keys: dict[str, str]) -> list[str]:
    """The words of a check that a configuration file says all but the data of."""
    (path / "run.yaml").write_text("name: x\nwalk: {scales: [[32,48],[64,96]], patch_size: [32,48]}\n")
    return ["--config", str(path / "run.yaml"), *arguments(keys)]


def _list(path: Path, change: Callable[[str], str]) -> list[str]:
    keys = list_sample(path / "d")
    file = path / "d" / "train.lst"
    file.write_text(change(file.read_text()))
    return _with_keys(path, keys)


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


# cityscapes


def _cityscapes(path: Path) -> Path:
    cityscapes_sample(path / "d")
    return path / "d"


def _only(folder: Path, kind: str) -> list[str]:
    """Leave one kind of label files."""
    for file in sorted((folder / "gtFine").glob("*/*/*.png")):
        if file.stem.endswith("_color"):
            file.rename(file.with_name(file.name.replace("_color", kind)))
        else:
            file.unlink()
    return [str(folder), *FEW, "--split", "train,val"]


@layout("holds no <city>/<frame>_gtFine_labelIds.png, but ", "_gtFine_labelTrainIds.png in aachen/", "are wanted")
def cityscapes_with_train_ids_alone(path: Path) -> list[str]:
    return _only(_cityscapes(path), "_labelTrainIds")


@layout("holds no <city>/<frame>_gtFine_labelIds.png, but ", "_gtFine_color.png in aachen/", "unpack gtFine_trainval")
def cityscapes_with_colours_alone(path: Path) -> list[str]:
    return _only(_cityscapes(path), "_color")


@layout("gtFine/train', which does not exist; '", "holds gtCoarse/, leftImg8bit/: unpack gtFine_trainvaltest.zip there")
def cityscapes_with_coarse_labels(path: Path) -> list[str]:
    folder = _cityscapes(path)
    (folder / "gtFine").rename(folder / "gtCoarse")
    return [str(folder)]


@layout("holds no <city>/<frame>_leftImg8bit.png, but aachen_", "unpack leftImg8bit_trainvaltest.zip there")
def cityscapes_without_cities(path: Path) -> list[str]:
    folder = _cityscapes(path)
    for file in sorted((folder / "leftImg8bit").glob("*/*/*.png")):
        file.rename(file.parent.parent / file.name)
    for city in (folder / "leftImg8bit").glob("*/*/"):
        city.rmdir()
    return [str(folder)]


@layout("leftImg8bit/train', which does not exist; set data.root to the folder of leftImg8bit and gtFine", "gtFine/")
def cityscapes_without_images(path: Path) -> list[str]:
    folder = _cityscapes(path)
    shutil.rmtree(folder / "leftImg8bit")
    return [str(folder)]


@layout("looks like cityscapes: is it that folder?")
def cityscapes_one_level_too_high(path: Path) -> list[str]:
    _cityscapes(path / "up")
    return [str(path / "up")]


@layout("_labelTrainIds.png' holds no label ids", "_gtFine_labelIds.png are wanted")
def cityscapes_lists_of_train_ids(path: Path) -> list[str]:
    folder = _cityscapes(path)
    _only(folder, "_labelTrainIds")
    for split in ("train", "val"):
        lines = []
        for image in sorted((folder / "leftImg8bit" / split).glob("*/*.png")):
            label = str(image).replace("leftImg8bit/", "gtFine/").replace("_leftImg8bit", "_gtFine_labelTrainIds")
            lines.append(f"{image.relative_to(folder)}\t{Path(label).relative_to(folder)}\n")
        (folder / f"{split}.lst").write_text("".join(lines))
    lists = ["--data.lists.train", "train.lst", "--data.lists.val", "val.lst"]
    return [str(folder), "--data.format", "cityscapes", *lists, *FEW, "--split", "train,val"]


@layout("class 1 (sidewalk), 2 (building)", "and 9 more", "data.accept: [absent]")
def cityscapes_with_few_classes(path: Path) -> list[str]:
    return [str(_cityscapes(path)), "--split", "train,val"]


@layout("the labels of the test split of Cityscapes are not public; use the split val")
def cityscapes_test_labels(path: Path) -> list[str]:
    return [str(_cityscapes(path)), *FEW, "--split", "test"]


# deepglobe


def _deepglobe(path: Path) -> Path:
    deepglobe_sample(path / "d")
    return path / "d" / "train"


@layout("holds no <id>_mask.png, but 1000_sat.jpg", "unpack the training tiles of DeepGlobe")
def deepglobe_without_masks(path: Path) -> list[str]:
    train = _deepglobe(path)
    for file in train.glob("*_mask.png"):
        file.unlink()
    return [str(train.parent)]


@layout("1000_mask.jpg' is JPEG, which changes ids", "PNG is wanted")
def deepglobe_masks_are_jpeg(path: Path) -> list[str]:
    train = _deepglobe(path)
    for file in sorted(train.glob("*_mask.png")):
        Image.open(file).save(file.with_suffix(".jpg"), quality=95)
        file.unlink()
    return [str(train.parent), *FEW]


@layout("expected an image of the classes' colours, got mode L", "save the classes' colours, or read ids with another")
def deepglobe_masks_are_ids(path: Path) -> list[str]:
    train = _deepglobe(path)
    for file in sorted(train.glob("*_mask.png")):
        Image.open(file).convert("L").save(file)
    return [str(train.parent), *FEW]


@layout("colours that no class has ((254, 254, 0) x ", "set data.unmatched to ignore or binarize")
def deepglobe_colours_are_not_pure(path: Path) -> list[str]:
    train = _deepglobe(path)
    for file in sorted(train.glob("*_mask.png")):
        mask = np.array(Image.open(file))
        mask[mask == 255] = 254
        save(mask, file)
    return [str(train.parent), *FEW]


@layout("train', which does not exist; set data.root to the folder of DeepGlobe's train/", "holds tiles/, valid/")
def deepglobe_tiles_in_another_folder(path: Path) -> list[str]:
    train = _deepglobe(path)
    train.rename(train.with_name("tiles"))
    return [str(train.parent), "--data.format", "deepglobe"]


# gleason


def _gleason(path: Path) -> Path:
    gleason_sample(path / "d", count=6)
    return path / "d"


SPLIT = ["--data.split.val", "0.2", "--data.split.test", "0.2", *FEW]


@layout("Train Imgs', which does not exist; set data.root to the folder of 'Train Imgs'", "holds Images/, Maps1_T/")
def gleason_without_images(path: Path) -> list[str]:
    folder = _gleason(path)
    (folder / "Train Imgs").rename(folder / "Images")
    return [str(folder)]


@layout("has no maps in Maps1_T, Maps2_T", "_classimg_nonconvex.png are wanted", "slide001_core000.png")
def gleason_maps_are_named_otherwise(path: Path) -> list[str]:
    folder = _gleason(path)
    for file in sorted(folder.glob("Maps*/*.png")):
        file.rename(file.with_name(file.name.replace("_classimg_nonconvex", "")))
    return [str(folder)]


@layout("has no maps in Maps6_T", "choose another data.annotator")
def gleason_annotator_without_maps(path: Path) -> list[str]:
    return [str(_gleason(path)), "--data.annotator", "6"]


@layout("holds [2], which are mapped to no class")
def gleason_value_of_no_grade(path: Path) -> list[str]:
    folder = _gleason(path)
    for file in sorted(folder.glob("Maps1_T/*.png")):
        values = np.array(Image.open(file))
        save(np.where(values == 4, 2, values).astype(np.uint8), file)
    return [str(folder), *SPLIT]


@layout("Maps2_T", "is 32x48 (HxW)", "all maps of an image must be of one size")
def gleason_maps_of_two_sizes(path: Path) -> list[str]:
    folder = _gleason(path)
    for file in sorted(folder.glob("Maps2_T/*.png")):
        save(np.array(Image.open(file))[::2, ::2].copy(), file)
    return [str(folder), *SPLIT]


@layout("images without labels", "Train Imgs/slide001_core001.jpg")
def gleason_core_without_maps(path: Path) -> list[str]:
    folder = _gleason(path)
    for file in folder.glob("Maps*/slide001_core001_*.png"):
        file.unlink()
    return [str(folder), *SPLIT]
