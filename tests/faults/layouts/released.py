"""Cityscapes, DeepGlobe and Gleason 2019, other than they are distributed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from faults.layouts.table import FEW, layout
from PIL import Image
from sample_data import cityscapes_sample, deepglobe_sample, gleason_sample, save

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
