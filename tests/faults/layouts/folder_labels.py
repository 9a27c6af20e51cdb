"""Data folders whose classes or labels say something else than what is meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from faults.layouts.table import each_label, folder_of, layout, write
from PIL import Image


@layout("the class name 'Road' twice, for 0 and 1 (there as 'road', which makes no difference)", "a name of its own")
def folder_class_name_twice_but_for_upper_case(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0 Road\n1 road\n255 ignore\n")


@layout("palette whose entry 0 is the grey 1", "save the ids as 8-bit grey, without a palette")
def folder_labels_with_quantised_greys(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in sorted((folder / "labels").iterdir()):
        ids = np.array(Image.open(file))
        image = Image.fromarray((ids == 0).astype(np.uint8), mode="P")  # entry 1 is the grey 0
        image.putpalette([1, 1, 1, 0, 0, 0])
        image.save(file)
    return [str(folder)]


@layout("cannot read", "classes.txt' (No such file or directory); list the classes, one 'id name' a line")
def folder_without_classes(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "classes.txt").unlink()
    return [str(folder)]


@layout("expected 'id name', got 'ground'", "begin each line with the id and a space: 0 background")
def folder_classes_without_ids(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "ground\nthing\n")


@layout("expected 'id name', got '0,ground'", "the id and a space")
def folder_classes_with_commas(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0,ground\n1,thing\n")


@layout("expected ids 0, 1, 2, ... without gaps, got [1, 2]", "number the classes from 0", "data.format yaml")
def folder_classes_from_one(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "1 ground\n2 thing\n")


@layout("the id 0 is listed twice", "an id of its own")
def folder_class_id_twice(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0 ground\n0 thing\n")


@layout("the class name 'ground' twice, for 0 and 1", "a name of its own")
def folder_class_name_twice(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0 ground\n1 ground\n")


@layout("has 1 class (thing)", "name what surrounds it, too: 0 background, 1 thing")
def folder_of_one_class(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0 thing\n")


@layout("255 is always ignored, so it cannot be the class 'thing'", "`mapping: {..., 255: 1}`", "255 ignore")
def folder_class_of_id_255(path: Path) -> list[str]:
    return write(folder_of(path), "classes.txt", "0 ground\n255 thing\n")


@layout("no pixel of the training labels is of class 1 (thing)", "`mapping: {0: 0, 255: 1}`", "data.accept: [absent]")
def folder_masks_of_0_and_255(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: np.where(labels == 1, 255, 0).astype(np.uint8))


@layout("class 1 (thing)", "every label pixel is 0, as after a division by 255: write the labels anew")
def folder_masks_divided_to_0(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: labels * 0)


@layout("class 2 (third)", "hold the values 0, 1, 255", "`mapping: {0: 0, 1: 1, 255: 2}`")
def folder_third_class_is_255(path: Path) -> list[str]:
    folder = folder_of(path)
    write(folder, "classes.txt", "0 ground\n1 thing\n2 third\n")
    return [str(folder)]


@layout("56% of the pixels of the training labels are 255", "declare it: a line '255 ignore' in classes.txt")
def folder_half_is_ignored(path: Path) -> list[str]:
    folder = folder_of(path)
    write(folder, "classes.txt", "0 ground\n1 thing\n")

    def change(labels: np.ndarray) -> np.ndarray:
        labels[:18] = 255
        labels[18:20, :20] = 1
        return labels

    return each_label(folder, change)


@layout("holds [2], but the classes are 0..1", "map the values: `mapping: {1: 0, 2: 1}`", "data.format yaml")
def folder_labels_from_one(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: np.where(labels == 255, 255, labels + 1).astype(np.uint8))


@layout("expected an 8-bit image of class ids, got mode RGB", "one 8-bit channel (grey, or a palette), not as colours")
def folder_labels_are_colours(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: np.stack([labels] * 3, -1))


@layout("got mode I;16", "save the class ids as 8-bit values")
def folder_labels_of_16_bits(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: labels.astype(np.uint16))


@layout("is 32x48 (HxW), but its labels", "are 16x24; they must be of one size")
def folder_labels_of_half_the_size(path: Path) -> list[str]:
    return each_label(folder_of(path), lambda labels: np.ascontiguousarray(labels[::2, ::2]))
