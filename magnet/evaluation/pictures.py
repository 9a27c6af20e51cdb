"""Pictures of an evaluation: a confusion matrix, and what refinement changed in one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magnet.images.draw import (
    RIGHTED,
    SPOILT,
    STILL_WRONG,
    Sheet,
    Window,
    changes_picture,
    framed,
    heat_map,
    most_improved,
    overlay,
)

__all__ = ["change_sheet", "changed_windows", "confusion_picture"]

_INK, _PALE, _PAPER, _EMPTY = (25, 25, 28), (245, 245, 245), (255, 255, 255), (225, 225, 228)
_GAP = 12
_LONGEST = 200  # letters of a name that are looked at


def confusion_picture(panels: Sequence[tuple[str, np.ndarray]], class_names: Sequence[str]) -> Image.Image:
    """Confusion matrices side by side, each row in percent of its labels.

    Args:
        panels: title and (C, C) counts, rows are labels, of each matrix.
        class_names: of the C classes.

    Returns:
        RGB picture: dark is 0%, bright 100%; grey rows have no labels. Cells are large enough for numbers up to about
        30 classes, and names are shortened where they would take more room than the matrix.
    """
    count = len(class_names)
    cell = min(max(1200 // count, 11), 64)
    font = ImageFont.load_default(min(max(cell * 0.42, 9), 18))
    title_font = ImageFont.load_default(20)
    names = [_shortened(name, font, 220) for name in class_names]
    room = round(max(font.getlength(name) for name in names)) + _GAP
    top = 34
    side = max(cell * count, 280)
    width, height = room + side + 2 * _GAP, top + cell * count + room + 2 * _GAP + 20
    picture = Image.new("RGB", (width * len(panels), height), _PAPER)
    draw = ImageDraw.Draw(picture)
    for number, (title, confusion) in enumerate(panels):
        x0, y0 = number * width + room, top
        draw.text((x0, 6), title, fill=_INK, font=title_font)
        _cells(draw, confusion, (x0, y0), cell, font)
        for k, name in enumerate(names):
            middle = y0 + k * cell + cell / 2
            draw.text((x0 - 6, middle), name, fill=_INK, font=font, anchor="rm")
            _upright(picture, name, font, (round(x0 + k * cell + cell / 2), y0 + cell * count + 6))
        foot = "rows: labels, columns: predictions, % of the row"
        draw.text((x0, height - 22), foot, fill=_INK, font=ImageFont.load_default(12))
    return picture


def _cells(
    draw: ImageDraw.ImageDraw,
    confusion: np.ndarray,
    corner: tuple[int, int],
    cell: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    total = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(total, 1)
    colours = heat_map(shares)
    for i, j in np.ndindex(*confusion.shape):
        x, y = corner[0] + j * cell, corner[1] + i * cell
        colour = tuple(int(v) for v in colours[i, j]) if total[i] else _EMPTY
        draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
        percent = 100 * float(shares[i, j])
        if cell >= 26 and total[i] and percent >= 0.05:
            text = f"{percent:.1f}" if percent < 99.95 and cell >= 40 else f"{percent:.0f}"
            ink = _INK if sum(colour) > 400 else _PALE
            draw.text((x + cell / 2 - 1, y + cell / 2 - 1), text, fill=ink, font=font, anchor="mm")


def _shortened(name: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: float) -> str:
    name = name[: _LONGEST + 1]  # measured anew for each letter taken off
    if font.getlength(name) <= room:
        return name
    while name and font.getlength(name + "...") > room:
        name = name[:-1]
    return name + "..."


def _upright(
    picture: Image.Image,
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    place: tuple[int, int],
) -> None:
    """Text that is read from below, its end at ``place`` (x of its middle, y of its top)."""
    left, upper, right, lower = (round(v) for v in font.getbbox(text))
    strip = Image.new("RGB", (max(right, 1), max(lower, 1)), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, fill=_INK, font=font)
    strip = strip.crop((left, upper, max(right, left + 1), max(lower, upper + 1))).rotate(90, expand=True)
    picture.paste(strip, (place[0] - strip.width // 2, place[1]))


def changed_windows(
    coarse: np.ndarray, refined: np.ndarray, truth: np.ndarray, gain: float, size: tuple[int, int], n: int
) -> list[Window]:
    """The ``n`` windows of ``size`` (h, w) where most pixels were put right (``gain`` >= 0) or spoilt (< 0).

    Args:
        coarse, refined, truth: (H, W) uint8 labels.
    """
    better, worse = (refined, coarse) if gain >= 0 else (coarse, refined)
    return most_improved(worse, better, truth, size, n)


def change_sheet(
    image: np.ndarray,
    truth: np.ndarray,
    coarse: np.ndarray,
    refined: np.ndarray,
    *,
    gain: float,
    title: str,
    colours: Sequence[Sequence[int]],
    class_names: Sequence[str],
    width: int = 2400,
) -> Image.Image:
    """Image, labels, coarse and refined side by side as overlays, and the pixels that differ: the whole image shrunk,
    and below it the two regions where most was gained (``gain`` >= 0) or lost (< 0), magnified.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth, coarse, refined: (H, W) uint8 labels.
        gain: of the image.
        title: written over the image.
        colours: RGB of each class.
        class_names: for the legend.
        width: of the sheet in pixels.
    """
    size = (max(min(64, truth.shape[0]), truth.shape[0] // 7), max(min(64, truth.shape[1]), truth.shape[1] // 7))
    windows = changed_windows(coarse, refined, truth, gain, size, n=2)
    pictures = [
        (title, image),
        ("labels", overlay(image, truth, colours)),
        ("coarse", overlay(image, coarse, colours)),
        ("refined", overlay(image, refined, colours)),
        ("changed", changes_picture(image, coarse, refined, truth)),
    ]
    sheet = Sheet(width)
    sheet.row([(caption, framed(p, windows) if k == 0 else p) for k, (caption, p) in enumerate(pictures)], 5)
    for window in windows:
        sheet.row([("", picture[window.slices]) for _, picture in pictures], 5, sharp=True)
    legend = [*zip(class_names, colours, strict=True)]
    legend += [("changed: put right", RIGHTED), ("changed: spoilt", SPOILT), ("changed: still wrong", STILL_WRONG)]
    return sheet.render(legend)
