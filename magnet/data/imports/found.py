"""What every format of labels comes down to: classes, and images whose labels can be drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import image_files, images_in, is_hidden
from magnet.data.names import plain_name
from magnet.errors import MagNetError, printable
from magnet.images.label_files.blocks import Blocks
from magnet.images.rasters.raster import Place
from magnet.images.read import upright

__all__ = [
    "Found",
    "Item",
    "WholeLabels",
    "check_faults",
    "image_of",
    "number_classes",
    "pair_masks",
    "turn",
    "turned_note",
    "unique_names",
]

_NAMED = 4  # faults in a message
_MOST_CLASSES = IGNORE_INDEX  # ids 0..254


@dataclass(frozen=True)
class Item:
    """One image and its labels.

    Attributes:
        name: its file name without the suffix, in the folder that is written.
        image: its file.
        source: the file of its labels.
        labels: (H, W) uint8 class ids, 255 = ignored, to be read by window.
        place: where a TIFF lies: then its labels are a TIFF, too.
    """

    name: str
    image: Path
    source: Path
    labels: Blocks
    place: Place | None = None


@dataclass
class Found:
    """What a source of labels holds.

    Attributes:
        class_names: by id.
        ignored: whether 255 is declared to be ignored.
        items: the images.
        splits: names of the images of each split, where the source has splits.
        notes: what is to be told.
    """

    class_names: list[str]
    ignored: bool
    items: list[Item]
    splits: Mapping[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class WholeLabels:
    """Labels that are made as a whole, each time they are read: ``Blocks`` of a picture.

    Args:
        size: (H, W).
        make: returns (H, W) uint8.
    """

    def __init__(self, size: tuple[int, int], make: Callable[[], np.ndarray]) -> None:
        self.size, self._make = size, make

    def read(self, box: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = box
        return self._make()[y0:y1, x0:x1]


def turn(make: Callable[[], np.ndarray], orientation: int) -> np.ndarray:
    """Labels drawn on an image as it is stored, turned as its EXIF tag turns it."""
    return upright(make(), orientation)


def turned_note(images: Sequence[Path]) -> list[str]:
    """What to tell of images whose labels were turned."""
    if not images:
        return []
    return [
        f"{len(images)} images, as '{images[0]}', have an EXIF turn, and labels of the size that they have without: "
        "these are turned as the image is"
    ]


def number_classes(names: Sequence[str], ignore: Collection[str]) -> tuple[list[str], dict[str, int]]:
    """Number the classes in their order, and leave out those that are ignored.

    Args:
        names: of all classes, as the source has them.
        ignore: those whose pixels are to be ignored; upper case, blanks, ``_`` and ``-`` make no difference.

    Returns:
        Names by id, and the id of each name of the source: 255 for what is ignored.

    Raises:
        MagNetError: a name without a letter, two of one name, an ignored one that is not there, more than 255 classes.
    """
    left_out = {plain_name(name) for name in ignore}
    plain = [plain_name(name) for name in names]
    for number, name in enumerate(plain):
        if not name or plain.index(name) != number:
            told = f"'{printable(names[number])}' twice" if name else "a class without a name"
            raise MagNetError(f"import: expected classes of different names, got {told}; rename it in the source")
    unknown = sorted(left_out - set(plain))
    if unknown:
        raise MagNetError(
            f"import: expected --ignore to name classes of the source ({', '.join(map(printable, names))}), got "
            f"'{printable(unknown[0])}'; give one of these"
        )
    kept = [" ".join(name.split()) for name, short in zip(names, plain, strict=True) if short not in left_out]
    if len(kept) > _MOST_CLASSES:
        raise MagNetError(
            f"import: expected at most {_MOST_CLASSES} classes, as labels have 8 bits, got {len(kept)}; leave some out "
            "with --ignore, or merge them in the source"
        )
    ids, number = {}, 0
    for name, short in zip(names, plain, strict=True):
        ids[name] = IGNORE_INDEX if short in left_out else number
        number += short not in left_out
    return kept, ids


def unique_names(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """What to call each image of a folder in the one that is written: its stem; where others have the same, its folders
    before it, and where that is not enough its suffix behind it."""
    found = list(dict.fromkeys(paths))
    stems = Counter(path.stem for path in found)
    longer = {path: "_".join(path.relative_to(folder).with_suffix("").parts) for path in found if stems[path.stem] > 1}
    taken = Counter(longer.values())
    with_suffix = {path: f"{name}_{path.suffix[1:]}" if taken[name] > 1 else name for path, name in longer.items()}
    return {path: with_suffix.get(path, path.stem) for path in found}


def image_of(folder: Path, name: str) -> Path | None:
    """The image of a folder that a source calls ``name``: at that path below it, or anywhere of that file name alone.

    Paths that lead out of the folder are not followed. Names may be those of addresses: "photo%201.jpg?d=1".
    """
    for text in (name, unquote(name), unquote(name.rpartition("?d=")[2]), unquote(name.partition("?")[0])):
        asked = Path(text.replace("\\", "/"))
        if "\0" in text or not asked.name:
            continue
        inside = not asked.is_absolute() and ".." not in asked.parts
        for path in ([folder / asked] if inside else []) + [folder / asked.name]:
            if path.is_file():
                return path
    return None


def pair_masks(images: Path, masks: Path, suffix: str) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """Name, image and mask of all masks of a folder, and what to tell of images without a mask.

    Where all masks lie in folders of it, images are looked for in folders of the same names: "a/b.png" is called "a_b".

    Args:
        images, masks: folders.
        suffix: what names of masks have beyond those of their images, as "_L".

    Raises:
        MagNetError: masks without an image, or none at all.
    """
    nested = masks.is_dir() and not image_files(masks)
    of_images = _images_below(images, "") if nested else images_in(images)
    of_masks = _images_below(masks, suffix) if nested else images_in(masks, suffix)
    if not of_masks:
        ending = f" whose names end in '{suffix}'" if suffix else ""
        raise MagNetError(
            f"import: expected masks in '{masks}', got no image{ending}; check the path and --mask-suffix"
        )
    check_faults(
        [f"'{path}' has no image '{name}' in '{images}'" for name, path in of_masks.items() if name not in of_images],
        "each mask to have an image of its name",
        "check --images and --mask-suffix",
    )
    left = len(of_images) - len(of_masks)
    notes = [f"{left} of {len(of_images)} images have no mask, and are left out"] if left else []
    return [(name, of_images[name], path) for name, path in of_masks.items()], notes


def _images_below(folder: Path, suffix: str) -> dict[str, Path]:
    """As :func:`images_in`, of a folder and all that are below it: by path and stem, joined by "_"."""
    found: dict[str, Path] = {}
    for inside in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir() and not is_hidden(path))]:
        for stem, path in images_in(inside, suffix).items() if image_files(inside) else ():
            name = "_".join([*inside.relative_to(folder).parts, stem])
            check_faults(
                [f"'{found[name]}' and '{path}' would both be '{name}'"] if name in found else [],
                "images of different names",
                "rename one of them",
            )
            found[name] = path
    return found


def check_faults(faults: Iterable[str], expected: str, mend: str) -> None:
    """Raise MagNetError that counts faults and names some; nothing where there are none."""
    found = list(faults)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise MagNetError(f"import: expected {expected}, but {'; '.join(found[:_NAMED])}{more}; {mend}")
