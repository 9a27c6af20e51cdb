"""Imported labels as a data folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from magnet.data.imports.found import Found, Item, check_faults
from magnet.errors import MagNetError, printable
from magnet.files.outputs import Outputs
from magnet.images.draw import default_colours
from magnet.images.label_files.geotiff import write_geotiff
from magnet.images.png import write_grey_png
from magnet.images.rasters.sidecars import projection_file, world_file_path

__all__ = ["SOURCE", "write_folder"]

SOURCE = "imported labels"  # what lists, classes and the sheet are recorded to be made from
_AT_ONCE = 1 << 26  # pixels: masks are decoded anew for each strip


def write_folder(
    found: Found, outputs: Outputs, splits: Mapping[str, Sequence[str]], sheet: str, *, overwrite: bool
) -> None:
    """Write images, labels, ``classes.txt`` and a list for each split; see :class:`magnet.data.folder.DataFolder`.

    Images are copied byte by byte, with a world file and .prj beside them. Another split can be imported into the same
    folder later: the classes have to be the same.

    Args:
        found: what was read.
        outputs: the folder, entered, with "images" and "labels" inside.
        splits: names of the images of each split; those of no split are left out.
        sheet: name of the contact sheet, which is written later.
        overwrite: replace classes.txt where it has other classes.

    Raises:
        MagNetError: files are in the way, the folder has other classes, or a name cannot be listed.
    """
    out = outputs.folder
    split_of = {name: split for split, names in splits.items() for name in names}
    items = [item for item in found.items if item.name in split_of]
    check_faults(
        (f"'{printable(item.image)}' is not" for item in items if not _is_listable(item.name)),
        "names of images that a list can hold",
        "rename those that begin with a dot, or have line breaks or blanks at their ends",
    )
    copies = {item.name: _copies(item, out) for item in items}
    labels = {item.name: out / "labels" / f"{item.name}{_ending(item)}" for item in items}
    classes = _classes_text(found)
    texts = {out / f"{split}.txt": "".join(f"{name}\n" for name in names) for split, names in splits.items()}
    if not _same_classes(out / "classes.txt", classes, overwrite):
        texts[out / "classes.txt"] = classes
    targets = [(path, f"'{one.resolve()}'") for paths in copies.values() for one, path in paths.items()]
    targets += [(labels[item.name], f"'{item.source.resolve()}'") for item in items]
    targets += [(path, SOURCE) for path in (*texts, out / sheet)]
    read = {file for paths in copies.values() for file in paths} | {item.source for item in items}
    outputs.check(targets, sorted(read))
    for item in tqdm(items, desc="importing", unit="image", disable=None):
        for file, path in copies[item.name].items():
            with outputs.write(path, f"'{file.resolve()}'") as temporary:
                shutil.copyfile(file, temporary)
        with outputs.write(labels[item.name], f"'{item.source.resolve()}'") as temporary:
            _write_labels(item, temporary, found.class_names)
    for path, text in texts.items():
        with outputs.write(path, SOURCE) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _is_listable(name: str) -> bool:
    """Whether a name, as a line of a list, is read again as it was, and its file is not hidden."""
    return name.isprintable() and name == name.strip() and not name.startswith(".")


def _ending(item: Item) -> str:
    return ".png" if item.place is None else ".tif"


def _copies(item: Item, out: Path) -> dict[Path, Path]:
    """The image, and what says where it lies, to where each is copied."""
    projection = projection_file(item.image)
    beside = [world_file_path(item.image), projection[0] if projection else None]
    files = [item.image, *(file for file in beside if file is not None)]
    return {file: out / "images" / f"{item.name}{file.suffix}" for file in files}


def _write_labels(item: Item, path: Path, class_names: Sequence[str]) -> None:
    height, width = item.labels.size
    if item.place is not None:
        write_geotiff(item.labels, path, item.place, default_colours(len(class_names)), class_names)
    else:
        rows = max(_AT_ONCE // width, 1)
        tops = range(0, height, rows)
        strips = (item.labels.read((0, top, width, min(top + rows, height))) for top in tops)
        write_grey_png(path, (height, width), strips)


def _classes_text(found: Found) -> str:
    lines = [f"{number} {name}\n" for number, name in enumerate(found.class_names)]
    return "".join([*lines, "255 ignore\n"] if found.ignored else lines)


def _same_classes(path: Path, classes: str, overwrite: bool) -> bool:
    """Whether a file of the same classes is there already.

    Raises:
        MagNetError: one of other classes is, and is not to be replaced.
    """
    if not path.is_file():
        return False
    there = path.read_text(encoding="utf-8", errors="replace")
    if there == classes:
        return True
    if overwrite:
        return False
    raise MagNetError(
        f"--out: '{path}' has other classes ({printable(' '.join(there.split()))}) than the labels "
        f"({printable(' '.join(classes.split()))}); choose another folder, or give --overwrite to replace what is there"
    )
