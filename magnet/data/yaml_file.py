"""A data set that a YAML file describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magnet.data.dataset import IGNORE_INDEX, Colour
from magnet.data.labelled_files import FilePair, LabelledFiles, images_in, pair_by_name
from magnet.data.labels import ClassIds
from magnet.data.lists import listed_pairs
from magnet.data.splits import check_split_name
from magnet.data.unread import unread_faults
from magnet.errors import ArgumentError, shown
from magnet.files.yaml_text import read_yaml

__all__ = ["YamlData", "lists_of"]

_KEYS = ("root", "classes", "colours", "ignore", "mapping", "train", "val", "test")
_Found = tuple[list[FilePair], list[Path], list[Path]]


class YamlData(LabelledFiles):
    """One split of a data set described by a YAML file::

        classes: [background, road, car]     # names, in the order of their ids
        ignore: [4, 5, 255]                  # optional: values of label files that are ignored; 255 always is
        mapping: {7: 1, 26: 2, 0: 0}         # optional: class id of each value; without it values are class ids
        colours: [[0, 0, 0], [128, 64, 128], [0, 0, 142]]     # optional: RGB of each class, for pictures
        root: .                              # optional: folder of the paths below, relative to this file
        train: {images: train/images, labels: train/labels}   # pairs have one file name, up to the suffix
        val: {list: val.txt}                 # or a list of lines image<TAB>label

    Label files are 8-bit. A value that is neither a class, nor mapped, nor ignored is an error.

    Args:
        path: the YAML file.
        split: "train", "val" or "test".

    Raises:
        ArgumentError: an unreadable file, a key that is missing, unknown or of the wrong form.
        MagNetError: missing folders or files, an empty split.
    """

    def __init__(self, path: Path, split: str, *, strict: bool = True) -> None:
        content = _parse(path)
        unknown = [key for key in content if key not in _KEYS]
        if unknown:
            raise ArgumentError(f"data.file: '{path}' has the unknown key '{unknown[0]}'; known are {', '.join(_KEYS)}")
        class_names = _class_names(path, content.get("classes"))
        (pairs, without_labels, without_image), faults = _find(path, content, split)
        super().__init__(
            split,
            path,
            class_names,
            _code(path, content, len(class_names)),
            pairs,
            colours=_colours(path, content.get("colours"), len(class_names)),
            without_labels=without_labels,
            without_image=without_image,
            faults=faults,
            strict=strict,
        )


def _parse(path: Path) -> dict[str, Any]:
    content = read_yaml(path, "data.file", "set data.file to a YAML file that describes the data")
    return _need(path, "content", content, isinstance(content, dict), "keys and values")


def _need(path: Path, key: str, value: Any, holds: bool, expected: str) -> Any:
    if not holds:
        raise ArgumentError(f"data.file: '{path}': {key}: expected {expected}, got {shown(value)}")
    return value


def _is_number(value: object, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _class_names(path: Path, names: Any) -> list[str]:
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    holds = isinstance(names, list) and 0 < len(names) <= IGNORE_INDEX
    holds = holds and all(isinstance(n, (str, int)) and not isinstance(n, bool) for n in names)
    _need(path, "classes", names, holds, "a list of class names, or names by id 0, 1, 2, ...")
    return [str(name) for name in names]


def _code(path: Path, content: Mapping[str, Any], num_classes: int) -> ClassIds:
    ignored, mapping = content.get("ignore"), content.get("mapping")
    ignored = [] if ignored is None else ignored  # `ignore: 0` is no empty list
    holds = isinstance(ignored, list) and all(_is_number(v, 256) for v in ignored)
    _need(path, "ignore", ignored, holds, "a list of label values, 0 to 255")
    if mapping is not None:
        holds = isinstance(mapping, dict) and all(
            _is_number(value, 256) and (_is_number(number, num_classes) or number == IGNORE_INDEX)
            for value, number in mapping.items()
        )
        _need(path, "mapping", mapping, holds, f"class ids 0..{num_classes - 1} (or 255) by label value 0..255")
    return ClassIds(num_classes, mapping, ignored)


def _colours(path: Path, colours: Any, num_classes: int) -> list[Colour] | None:
    if colours is None:
        return None
    holds = (
        isinstance(colours, list)
        and len(colours) == num_classes
        and all(isinstance(c, list) and len(c) == 3 and all(_is_number(v, 256) for v in c) for c in colours)
    )
    _need(path, "colours", colours, holds, f"{num_classes} colours [R, G, B], one a class")
    return [(r, g, b) for r, g, b in colours]


def lists_of(path: Path) -> list[Path]:
    """The list files that a description names, of every split."""
    content = _parse(path)
    parts = [content.get(split) for split in ("train", "val", "test")]
    return [_root(path, content) / str(part["list"]) for part in parts if isinstance(part, dict) and "list" in part]


def _root(path: Path, content: Mapping[str, Any]) -> Path:
    return path.parent / str("." if content.get("root") is None else content["root"])


def _find(path: Path, content: Mapping[str, Any], split: str) -> tuple[_Found, list[str]]:
    """Files of a split, and messages of what is there and not read."""
    check_split_name(split)
    root = _root(path, content)
    part = content.get(split)
    if part is None:
        raise ArgumentError(f"data.file: '{path}' has no split '{split}'; add '{split}: {{images: ..., labels: ...}}'")
    folders = isinstance(part, dict) and set(part) == {"images", "labels"}
    listed = isinstance(part, dict) and set(part) == {"list"}
    _need(path, split, part, folders or listed, "{images: FOLDER, labels: FOLDER} or {list: FILE}")
    if listed:
        return listed_pairs(root, root / str(part["list"])), []
    images, labels = root / str(part["images"]), root / str(part["labels"])
    # splits may share a folder of labels: those of the others' images are not without an image
    elsewhere: set[str] = set()
    for other in ("train", "val", "test"):
        found = content.get(other)
        if other != split and isinstance(found, dict) and found.get("labels") == part["labels"] and "images" in found:
            elsewhere.update(images_in(root / str(found["images"])))
    of_images, of_labels = images_in(images), images_in(labels)
    pairs, without_labels, without_image = pair_by_name(of_images, of_labels)
    without_image = [p for p in without_image if p.stem not in elsewhere]
    faults = unread_faults([p.stem for p in without_labels], labels, of_labels, "labels")
    faults += unread_faults([p.stem for p in without_image], images, of_images, "images")
    return (pairs, without_labels, without_image), faults
