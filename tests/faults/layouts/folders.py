"""Data folders whose files are missing, of another kind, named otherwise or in another place."""

from __future__ import annotations

import os
from pathlib import Path

from faults.layouts.table import folder_of, layout, rename, write
from PIL import Image


@layout("labels/p0.tif' and 2 more: PNG is wanted", "p0.png")
def folder_labels_are_tiff(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file.with_suffix(".tif"))
        file.unlink()
    return [str(folder)]


@layout("labels/p0.jpg' and 2 more: PNG is wanted", "from their source, as JPEG changes ids")
def folder_labels_are_jpeg(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    return [str(folder)]


@layout("p0.png' is JPEG, which changes ids", "PNG is wanted", "data.accept: [lossy]")
def folder_labels_are_jpeg_by_another_name(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in sorted((folder / "labels").iterdir()):
        Image.open(file).save(file, format="JPEG")
    return [str(folder)]


@layout("lists 'p0.jpg' and 2 more", "stems, without suffix and folder, are wanted: 'p0'")
def folder_lists_hold_suffixes(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0.jpg\np1.jpg\np2.jpg\n")


@layout("lists 'images/p0.jpg' and 2 more", "are wanted: 'p0'")
def folder_lists_hold_paths(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "images/p0.jpg\nimages/p1.jpg\nimages/p2.jpg\n")


@layout("lists 'p0.jpg\tp0.png' and 1 more", "set data.format list")
def folder_lists_hold_pairs(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0.jpg\tp0.png\np1.jpg\tp1.png\n")


@layout("lists 'p0' twice", "remove one")
def folder_lists_a_name_twice(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0\np1\np0\np2\n")


@layout("train.txt of '", "lists 'ghost', which is neither in images/ nor in labels/", "take it out of the list")
def folder_lists_what_is_not_there(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0\np1\nghost\np2\n")


@layout("lists 'P0' and 2 more, which is neither in images/ nor in labels/; did you mean 'p0'?")
def folder_lists_names_in_upper_case(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "P0\nP1\nP2\n")


@layout("lists 'pp0', which is neither in images/ nor in labels/; did you mean 'p0'?")
def folder_lists_a_slip(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "pp0\np1\np2\n")


@layout("lists 'p0.jpg,p0.png' and 1 more; stems, one a line, are wanted: 'p0'")
def folder_lists_pairs_by_commas(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0.jpg,p0.png\np1.jpg, p1.png\np2\n")


@layout("lists 'images/p0.jpg labels/p0.png' and 2 more; stems, without suffix and folder, are wanted: 'p0'")
def folder_lists_pairs_by_blanks(path: Path) -> list[str]:
    lines = [f"images/p{i}.jpg labels/p{i}.png\n" for i in range(3)]
    return write(folder_of(path), "train.txt", "".join(lines))


@layout("lists '# train'; stems, one a line, are wanted: take the line out")
def folder_lists_begin_with_a_comment(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "# train\np0\np1\np2\n")


@layout("labels/p0.npy' and 2 more: .npy is not read; save the labels as 'p0.png', 8-bit ids")
def folder_labels_are_arrays(path: Path) -> list[str]:
    return rename(folder_of(path), "labels", lambda file: f"{file.stem}.npy")


@layout("labels/p0.txt' and 2 more: .txt is not read; save the labels as 'p0.png', 8-bit ids")
def folder_labels_are_boxes(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in sorted((folder / "labels").iterdir()):
        file.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
        file.unlink()
    return [str(folder)]


@layout("images/p0.gif' and 2 more: .gif is not read; save the images as PNG or JPEG")
def folder_images_are_gif(path: Path) -> list[str]:
    return rename(folder_of(path), "images", lambda file: f"{file.stem}.gif")


@layout("labels/p0.png' is a link to what is not there; put the file itself there (3 of these)")
def folder_labels_are_dead_links(path: Path) -> list[str]:
    folder = folder_of(path)
    for number in range(3):
        (folder / "labels" / f"p{number}.png").unlink()
        (folder / "labels" / f"p{number}.png").symlink_to(f"elsewhere/p{number}.png")
    return [str(folder)]


@layout("images/p1.jpg' is a pipe; copy what comes from it to a file")
def folder_image_is_a_pipe(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "images" / "p1.jpg").unlink()
    os.mkfifo(folder / "images" / "p1.jpg")
    return [str(folder)]


@layout("train.txt' is not UTF-8", "save it as UTF-8")
def folder_list_is_utf16(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "p0\np1\np2\n".encode("utf-16"))


@layout("the split 'train'", "is empty; list file stems in train.txt")
def folder_list_is_empty(path: Path) -> list[str]:
    return write(folder_of(path), "train.txt", "\n")


@layout("cannot read", "train.txt' (No such file or directory); list the file stems")
def folder_without_a_list(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "train.txt").unlink()
    return [str(folder)]


@layout("p0.jpg' and 2 more seem to be '", "p0_mask.png'", "rename it to 'p0.png'")
def folder_labels_are_named_otherwise(path: Path) -> list[str]:
    return rename(folder_of(path), "labels", lambda file: f"{file.stem}_mask.png")


@layout("has no labels/ folder, but images/, masks/", "name the folder of the labels so")
def folder_labels_are_in_masks(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "labels").rename(folder / "masks")
    return [str(folder)]


@layout("images' holds its images in folders (train/, val/)", "put them directly into it", "data.format list")
def folder_images_are_nested(path: Path) -> list[str]:
    folder = folder_of(path)
    for number, file in enumerate(sorted((folder / "images").iterdir())):
        target = folder / "images" / ("train" if number < 3 else "val") / file.name
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
    return [str(folder)]


@layout("labels' holds its images in folders (train/)", "put them directly into it")
def folder_labels_are_nested(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "labels").rename(folder / "train")
    (folder / "labels").mkdir()
    (folder / "train").rename(folder / "labels" / "train")
    return [str(folder)]


@layout("p0.jpg' and '", "p0.png' have one name; remove one")
def folder_has_an_image_twice(path: Path) -> list[str]:
    folder = folder_of(path)
    Image.open(folder / "images" / "p0.jpg").save(folder / "images" / "p0.png")
    return [str(folder)]


@layout("images without labels: ", "images/p1.jpg")
def folder_lacks_a_label_file(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "labels" / "p1.png").unlink()
    return [str(folder)]


@layout("p0.jpg is in train and val")
def folder_has_an_image_in_two_splits(path: Path) -> list[str]:
    return write(folder_of(path), "val.txt", "p0\np3\n")


@layout("p0.png' is corrupt or not an image", "replace the file")
def folder_labels_are_no_images(path: Path) -> list[str]:
    folder = folder_of(path)
    for file in (folder / "labels").iterdir():
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return [str(folder)]


@layout("has the layout of none of", "'", "looks like folder: is it that folder?")
def folder_one_level_too_high(path: Path) -> list[str]:
    return [str(folder_of(path / "up").parent)]


@layout("has the layout of none of", "it holds images_2024/, masks_2024/", "a YAML file that describes the data")
def folder_of_no_layout(path: Path) -> list[str]:
    folder = folder_of(path)
    (folder / "images").rename(folder / "images_2024")
    (folder / "labels").rename(folder / "masks_2024")
    for file in folder.glob("*.txt"):
        file.unlink()
    return [str(folder)]
