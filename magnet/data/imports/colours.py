"""Masks whose colours are classes: tables of colours, RGB masks, the palettes of Pascal VOC."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from magnet.data.dataset import Colour
from magnet.data.imports.found import (
    Found,
    Item,
    WholeLabels,
    check_faults,
    number_classes,
    pair_masks,
    turn,
    turned_note,
)
from magnet.data.lists import read_text
from magnet.data.sizes import image_head, image_size
from magnet.errors import ArgumentError, MagNetError, printable
from magnet.images.lossy import lossy_format
from magnet.images.read import read_image

__all__ = ["read_colour_table", "read_colours", "read_voc", "voc_colours"]

_SPLITS = {"train": "train", "val": "val", "test": "test"}
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_BORDER, _BORDER_NAME = (224, 224, 192), "border"
_LINES = (  # of a table: in which order name and colour stand
    re.compile(r"(?P<r>\d+)[,;\s]+(?P<g>\d+)[,;\s]+(?P<b>\d+)([,;\s]+255)?[,;\s]+(?P<name>[^\d\s].*)"),
    re.compile(r"(?P<name>[^:]+):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+)(:.*)?"),  # labelmap.txt of CVAT
    re.compile(r"(?P<name>\S.*?)[,;\s]+(?P<r>\d+)[,;\s]+(?P<g>\d+)[,;\s]+(?P<b>\d+)[,;\s]+255"),
    re.compile(r"(?P<name>\S.*?)[,;\s]+(?P<r>\d+)[,;\s]+(?P<g>\d+)[,;\s]+(?P<b>\d+)"),
)
_NUMBERS = re.compile(r"[\d,;\s]+")  # a name that is a number might be read as a colour
_HEX = re.compile(r"#(?P<hex>[0-9A-Fa-f]{6})([Ff]{2})?[,;\s]+(?P<name>\S.*)")
_SHOWN = 6  # colours in a message


def voc_colours(count: int) -> list[Colour]:
    """The colours of Pascal VOC's classes: the bits of a number, three at a time, spread over red, green and blue."""
    colours = []
    for number in range(count):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append((channels[0], channels[1], channels[2]))
    return colours


def read_colour_table(path: Path) -> dict[str, Colour]:
    """Names and colours of the classes, in the order of the file: a line each, as ``128 64 128 road``,
    ``road,128,64,128``, ``#804080 road`` or ``road:128,64,128::`` (CVAT); an alpha of 255 may follow the colour. Lines
    that begin with "# " and a first line without numbers are left out.

    Raises:
        MagNetError: another line, a number above 255, a name or colour twice.
    """
    table: dict[str, Colour] = {}
    lines = read_text(path, "list the colour and the name of a class in each line").splitlines()
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("# ") or (number == 1 and not re.search(r"\d", line)):
            continue
        name, colour = _parsed(line, f"'{path}', line {number}")
        if name in table or colour in table.values():
            raise MagNetError(
                f"import: '{path}', line {number}: '{printable(name)}' or its colour {colour} is there already; give "
                "each class a name and a colour of its own"
            )
        table[name] = colour
    if len(table) < 2:
        raise MagNetError(
            f"import: expected two classes or more in '{path}', got {len(table)}; name the background, too"
        )
    return table


def _parsed(line: str, where: str) -> tuple[str, Colour]:
    if found := _HEX.fullmatch(line):
        value = int(found["hex"], 16)
        return found["name"].strip(), (value >> 16, value >> 8 & 255, value & 255)
    for pattern in _LINES:
        if _NUMBERS.fullmatch(line):
            raise MagNetError(
                f"import: {where}: expected a name beside the colour of a class, got '{printable(line)}', of which any "
                "number may be the name; give classes names with letters"
            )
        if found := pattern.fullmatch(line):
            colour = int(found["r"]), int(found["g"]), int(found["b"])
            if max(colour) <= 255:
                return found["name"].strip(), colour
    raise MagNetError(
        f"import: {where}: expected the colour and the name of a class, as '128 64 128 road' or 'road,128,64,128', got "
        f"'{printable(line)}'; mend the line"
    )


def read_colours(
    masks: Path, images: Path, table: Mapping[str, Colour], *, ignore: Collection[str], tolerance: int, suffix: str
) -> Found:
    """Masks of a folder, by colours.

    Args:
        masks: the folder.
        images: folder of the images, of the same names.
        table: colour of each class, in the order of their ids.
        ignore: classes whose pixels are ignored.
        tolerance: how far each channel may be off; 0: not at all.
        suffix: what names of masks have beyond those of their images.

    Raises:
        MagNetError: masks without an image, or of another size; lossy ones without a tolerance; colours of no class,
            counted over all masks.
    """
    pairs, notes = pair_masks(images, masks, suffix)
    found = _found(pairs, table, ignore, tolerance)
    found.notes += notes
    return found


def read_voc(root: Path, images: Path | None = None, *, ignore: Collection[str]) -> Found:
    """A folder as Pascal VOC is distributed, and as CVAT exports segmentation masks: ``JPEGImages``,
    ``SegmentationClass``, and lists in ``ImageSets/Segmentation``; ``labelmap.txt`` has other classes than VOC's.

    The border of VOC's objects is ignored. ``images`` is the folder of the images where they are not in ``JPEGImages``.

    Raises:
        MagNetError: as :func:`read_colours`; a folder is missing.
    """
    masks, images = root / "SegmentationClass", images or root / "JPEGImages"
    for folder in (masks, images):
        if not folder.is_dir():
            raise ArgumentError(
                f"import: expected the layout of Pascal VOC, but '{folder}' does not exist; give the folder that it is "
                "in, that of the images with --images, or import masks of any layout as colours"
            )
    if (root / "labelmap.txt").is_file():
        table, ignored = read_colour_table(root / "labelmap.txt"), set(ignore)
    else:
        table = dict(zip(_VOC, voc_colours(len(_VOC)), strict=True)) | {_BORDER_NAME: _BORDER}
        ignored = {*ignore, _BORDER_NAME}
    pairs, notes = pair_masks(images, masks, "")
    found = _found(pairs, table, ignored, 0)
    found.notes += notes
    lists = root / "ImageSets" / "Segmentation"
    names = {item.name for item in found.items}
    listed: dict[str, list[str]] = {}
    for split in _SPLITS:
        if (lists / f"{split}.txt").is_file():
            stems = [line.strip() for line in read_text(lists / f"{split}.txt", "list one name a line").splitlines()]
            stems = [stem.replace("/", "_") for stem in stems]  # as images in folders are called
            listed[split] = [stem for stem in stems if stem in names]
            if missing := len([stem for stem in stems if stem]) - len(listed[split]):
                found.notes.append(f"{missing} names of {split}.txt have no mask, and are left out")
    found.splits = {split: stems for split, stems in listed.items() if stems}
    return found


def _found(
    pairs: Sequence[tuple[str, Path, Path]], table: Mapping[str, Colour], ignore: Collection[str], tolerance: int
) -> Found:
    names, ids = number_classes(list(table), ignore)
    colours = {colour: ids[name] for name, colour in table.items()}
    strange: Counter[Colour] = Counter()
    faults, items, off = [], [], 0
    turned: list[Path] = []
    files: set[Path] = set()
    for name, image, mask in pairs:
        lossy = lossy_format(mask)
        if lossy and not tolerance:
            faults.append(f"'{mask}' is {lossy}, which changes colours")
            continue
        size, own = image_size(image), image_size(mask, upright=False)
        stored, orientation = image_head(image)
        make = partial(_labels, mask, colours, tolerance)
        if size != own == stored:  # drawn by a tool that does not know EXIF turns
            make, size = partial(turn, make, orientation), own
            turned.append(image)
        if size != own:
            faults.append(f"'{image}' is {size[0]}x{size[1]} (HxW), its mask '{mask}' {own[0]}x{own[1]}")
            continue
        here, near = _strange(mask, colours, tolerance)
        strange.update(here)
        off += near
        files.update([mask] if here else [])
        items.append(Item(name, image, mask, WholeLabels(image_size(image), make)))
    check_faults(faults, "masks of the size of their images, without losses", "make them anew (lossy: or --tolerance)")
    if strange:
        told = ", ".join(f"{colour} x {pixels}" for colour, pixels in strange.most_common(_SHOWN))
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        where = f"in {len(files)} masks, as '{min(files)}': {told}{more}"
        if all(red == green == blue for red, green, blue in strange) and {*strange} != {(0, 0, 0)}:
            raise MagNetError(
                f"import: expected colours of classes alone, got greys that may be class ids {where}; ids need no "
                "import: lay the files out as a data folder (data.format folder)"
            )
        raise MagNetError(
            f"import: expected colours of classes alone, got {strange.total()} pixels of {len(strange)} other colours "
            f"{where}; add them to the table of colours, or give --tolerance where they are slightly off"
        )
    notes = [f"{off} pixels are of a colour that is off by up to {tolerance}: of the nearest class"] if off else []
    notes += turned_note(turned)
    return Found(names, bool(ignore), items, notes=notes)


def _packed(mask: Path) -> np.ndarray:
    """The colours of a mask as (H, W) uint32, as its rows are stored."""
    pixels = read_image(mask, upright=False).astype(np.uint32)
    packed: np.ndarray = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    return packed


def _classes(values: np.ndarray, colours: Mapping[Colour, int], tolerance: int) -> np.ndarray:
    """The class of each packed colour (n,); -1: of none."""
    own = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.int64)
    best, found = np.full(len(values), tolerance + 1), np.full(len(values), -1)
    for colour, number in colours.items():
        apart = np.abs(own - colour).max(axis=1)
        found[apart < best] = number
        best = np.minimum(best, apart)
    return found


def _strange(mask: Path, colours: Mapping[Colour, int], tolerance: int) -> tuple[dict[Colour, int], int]:
    """Pixels of each colour of no class, and how many are of one that is slightly off."""
    values, counts = np.unique(_packed(mask), return_counts=True)
    found, exact = _classes(values, colours, tolerance), _classes(values, colours, 0)
    none = found < 0
    strange = {
        (value >> 16, value >> 8 & 255, value & 255): count
        for value, count in zip(values[none].tolist(), counts[none].tolist(), strict=True)
    }
    return strange, int(counts[~none & (exact < 0)].sum())


def _labels(mask: Path, colours: Mapping[Colour, int], tolerance: int) -> np.ndarray:
    packed = _packed(mask)
    values, places = np.unique(packed, return_inverse=True)
    labels: np.ndarray = _classes(values, colours, tolerance).astype(np.uint8)[places].reshape(packed.shape)
    return labels
