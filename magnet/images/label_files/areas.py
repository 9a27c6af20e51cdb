"""How much of a raster each class covers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from magnet.images.label_files.blocks import NO_ANSWER, Blocks, read_block, tiles
from magnet.images.label_files.place import PixelArea

__all__ = ["count_classes", "write_areas"]


def count_classes(labels: Blocks) -> np.ndarray:
    """(256,) int64: the pixels of each value."""
    counts = np.zeros(256, np.int64)
    for box in tiles(labels.size):
        counts += np.bincount(read_block(labels, box).ravel(), minlength=256)
    return counts


def write_areas(
    labels: Blocks,
    path: Path,
    class_names: Sequence[str] | None,
    pixel_area: PixelArea,
    wanted_pixels: int | None = None,
) -> None:
    """Write a CSV with a line for each class: class_id, class, pixels, area, unit, share.

    The share is that of the pixels with an answer; those without have a last line of their own, with id 255, no name
    and no share.

    Args:
        labels: class ids, 255 for no answer.
        path: the file to make.
        class_names: one for each class; classes beyond have their number.
        pixel_area: of :func:`magnet.images.label_files.place.pixel_area`.
        wanted_pixels: how many of them were asked about, which all that have an answer are among: the others are not
            counted as without one. None: all.
    """
    counts = count_classes(labels)
    answered = int(counts[:NO_ANSWER].sum())
    names = list(class_names or ())
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class_id", "class", "pixels", "area", "unit", "share"])
        for number in range(NO_ANSWER):
            pixels = int(counts[number])
            if number < len(names) or pixels:
                name = names[number] if number < len(names) else str(number)
                share = pixels / answered if answered else 0.0
                writer.writerow([number, name, pixels, _area(pixels, pixel_area), pixel_area.unit, f"{share:.6f}"])
        if pixels := (int(counts.sum()) if wanted_pixels is None else wanted_pixels) - answered:
            writer.writerow([NO_ANSWER, "", pixels, _area(pixels, pixel_area), pixel_area.unit, ""])


def _area(pixels: int, area: PixelArea) -> int | float:
    return pixels if area.unit == "pixels" else pixels * area.value
