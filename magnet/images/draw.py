"""Pictures of predictions: label colours, overlays, heat maps, and one sheet that shows a whole walk."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "Sheet",
    "Window",
    "changes_picture",
    "colour_table",
    "default_colours",
    "framed",
    "heat_map",
    "label_image",
    "label_picture",
    "most_improved",
    "overlay",
    "picture_sheet",
    "points_picture",
]

Colours = Sequence[Sequence[int]]

IGNORED = (0, 0, 0)
_INK, _PAPER, _FRAME = (25, 25, 28), (255, 255, 255), (255, 60, 60)
_RAMP = np.array(  # black, violet, red, orange, pale yellow: brightness rises all the way
    [(0, 0, 8), (55, 15, 110), (140, 35, 125), (220, 70, 90), (253, 150, 90), (252, 240, 190)], dtype=np.float32
)


def default_colours(num_classes: int) -> list[tuple[int, int, int]]:
    """Colours that differ well, one for each class; two classes are dark grey and orange."""
    if num_classes <= 2:
        return [(40, 42, 54), (255, 170, 40)][:num_classes]
    colours = []
    for i in range(num_classes):
        r, g, b = colorsys.hsv_to_rgb(i * 0.618034 % 1, (0.55, 0.85, 0.7)[i % 3], (0.95, 0.75, 0.55)[i // 3 % 3])
        colours.append((round(r * 255), round(g * 255), round(b * 255)))
    return colours


def colour_table(colours: Colours) -> np.ndarray:
    """(256, 3) uint8 RGB of each value of a label; values beyond the classes are black."""
    table = np.zeros((256, 3), np.uint8)
    table[:] = IGNORED
    table[: len(colours)] = np.asarray(colours, np.uint8).reshape(-1, 3)
    return table


def _check_labels(labels: np.ndarray) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"labels: expected an (H, W) array of integers, got shape {array.shape} of {array.dtype}")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ValueError(f"labels: expected classes 0..255, got {array.min()}..{array.max()}")
    return array.astype(np.uint8)


def label_picture(labels: np.ndarray, colours: Colours) -> np.ndarray:
    """(H, W) classes -> (H, W, 3) uint8 in the colours of the classes; others, such as 255, are black."""
    return colour_table(colours)[_check_labels(labels)]


def label_image(labels: np.ndarray, colours: Colours) -> Image.Image:
    """(H, W) classes -> 8-bit palette image: its pixels are the classes, viewers show their colours."""
    image = Image.fromarray(_check_labels(labels))
    image.putpalette(colour_table(colours).tobytes())
    return image


def overlay(image: np.ndarray, labels: np.ndarray, colours: Colours, alpha: float = 0.5) -> np.ndarray:
    """Blend the colours of the classes over an (H, W, 3) uint8 image; ``alpha`` is their share."""
    picture = label_picture(labels, colours)
    if picture.shape != image.shape:
        raise ValueError(f"labels: expected the size of the image, {image.shape[:2]}, got {picture.shape[:2]}")
    mixed = image.astype(np.float32)
    mixed += (picture - mixed) * alpha
    return np.rint(mixed).astype(np.uint8)


def heat_map(values: np.ndarray) -> np.ndarray:
    """(H, W) values in [0, 1] -> (H, W, 3) uint8, dark to bright. Values outside are clipped, NaN counts as 1."""
    clipped = np.clip(np.nan_to_num(np.asarray(values, np.float32), nan=1.0), 0, 1)
    steps = np.linspace(0, 1, 256) * (len(_RAMP) - 1)
    ramp = np.stack([np.interp(steps, np.arange(len(_RAMP)), _RAMP[:, c]) for c in range(3)], axis=1)
    return np.rint(ramp).astype(np.uint8)[np.rint(clipped * 255).astype(np.uint8)]


def points_picture(image: np.ndarray, points: np.ndarray, changed: np.ndarray | None = None) -> np.ndarray:
    """The pixels that were replaced, in yellow over the darkened image.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (h, w) bool, of any size, True at the pixels replaced.
        changed: (H, W) bool, True where the class changed too: the other points are drawn faintly.
    """
    height, width = image.shape[:2]
    grey = image.mean(axis=2, keepdims=True, dtype=np.float32) * 0.4
    shown = np.repeat(grey, 3, axis=2)
    mask = Image.fromarray(points.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    share = np.asarray(mask, np.float32)[..., None] / 255
    if changed is not None:
        share = share * np.where(changed, np.float32(1), np.float32(0.3))[..., None]
    shown += (np.array((255, 214, 10), np.float32) - shown) * share
    return np.rint(shown).astype(np.uint8)


RIGHTED, SPOILT, STILL_WRONG = (60, 220, 90), (255, 50, 50), (255, 214, 10)  # pixels whose class changed


def changes_picture(
    image: np.ndarray, coarse: np.ndarray, refined: np.ndarray, truth: np.ndarray, ignore_index: int = 255
) -> np.ndarray:
    """The pixels whose class differs, over the darkened image: put right, spoilt, or wrong before and after.

    Args:
        image: (H, W, 3) uint8 RGB.
        coarse, refined, truth: (H, W) labels; changes where ``truth`` is ``ignore_index`` are not shown.
    """
    shown = np.repeat(np.rint(image.mean(axis=2, keepdims=True, dtype=np.float32) * 0.4), 3, axis=2).astype(np.uint8)
    changed = (coarse != refined) & (truth != ignore_index)
    shown[changed] = STILL_WRONG
    shown[changed & (refined == truth)] = RIGHTED
    shown[changed & (coarse == truth)] = SPOILT
    return shown


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def _box_sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.float64)
    total[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    return total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]


def most_improved(
    coarse: np.ndarray,
    refined: np.ndarray,
    truth: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    n: int = 2,
) -> list[Window]:
    """The ``n`` windows, not overlapping, where refinement gains most pixels: those changed, or those put right.

    Args:
        coarse, refined, truth: (H, W) labels.
        size: (h, w) of a window; None: a seventh of the image each way.

    Returns:
        Fewer than ``n`` windows where the image has no room for more.
    """
    height, width = coarse.shape
    h, w = size or (max(1, height // 7), max(1, width // 7))
    h, w = min(h, height), min(w, width)
    if truth is None:
        gain = (coarse != refined).astype(np.float32)
    else:
        gain = (refined == truth).astype(np.float32) - (coarse == truth)
    sums = _box_sums(gain, h, w)
    windows = []
    for _ in range(n):
        y, x = (int(v) for v in np.unravel_index(int(sums.argmax()), sums.shape))
        if sums[y, x] == -np.inf:
            break
        windows.append(Window(x, y, x + w, y + h))
        sums[max(0, y - h + 1) : y + h, max(0, x - w + 1) : x + w] = -np.inf
    return windows


class Sheet:
    """Rows of captioned pictures on white paper, none of them taller than ``TALLEST`` sheets are wide."""

    TALLEST = 2  # an image of 1 x 60000 pixels would need a sheet of gigabytes

    def __init__(self, width: int, gap: int = 16, text: int = 22) -> None:
        self.width, self.gap, self.text = width, gap, text
        self.font = ImageFont.load_default(text)
        self.parts: list[tuple[Image.Image, int, int]] = []
        self.captions: list[tuple[str, int, int]] = []
        self.bottom = gap

    def row(self, pictures: Sequence[tuple[str, np.ndarray]], columns: int, *, sharp: bool = False) -> None:
        """Pictures side by side, each as wide as a share of the sheet, or less where it would be too tall; ``sharp``
        keeps their pixels visible."""
        wide = (self.width - self.gap * (columns + 1)) // columns
        head = self.text + 10 if any(caption for caption, _ in pictures) else 0
        tallest = 0
        for k, (caption, picture) in enumerate(pictures):
            height, width = picture.shape[:2]
            tall = max(1, round(wide * height / width))
            shown = wide
            if tall > self.TALLEST * self.width:
                tall = self.TALLEST * self.width
                shown = max(1, round(tall * width / height))
            how = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
            x = self.gap + k * (wide + self.gap)
            self.captions.append((caption, x, self.bottom))
            self.parts.append((Image.fromarray(picture).resize((shown, tall), how), x, self.bottom + head))
            tallest = max(tallest, tall)
        self.bottom += head + tallest + self.gap

    def render(self, legend: Sequence[tuple[str, Sequence[int]]]) -> Image.Image:
        """The sheet with a legend of (name, colour) at its foot."""
        places, x, y = [], self.gap, self.bottom
        for name, colour in legend:
            wide = int(self.font.getlength(name)) + 2 * self.text + 8
            if x + wide > self.width - self.gap and x > self.gap:
                x, y = self.gap, y + self.text + 12
            places.append((name, colour, x, y))
            x += wide
        height = y + (self.text + 12 if places else 0)
        image = Image.new("RGB", (self.width, height), _PAPER)
        draw = ImageDraw.Draw(image)
        for part, x, y in self.parts:
            image.paste(part, (x, y))
        for caption, x, y in self.captions:
            draw.text((x, y), caption, fill=_INK, font=self.font)
        for name, colour, x, y in places:
            draw.rectangle((x, y + 2, x + self.text - 2, y + self.text), fill=tuple(colour), outline=_INK)  # type: ignore[arg-type]
            draw.text((x + self.text + 6, y), name, fill=_INK, font=self.font)
        return image


def framed(picture: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """A copy of an (H, W, 3) picture with the windows outlined."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    thick = max(1, round(picture.shape[1] / 400))
    for window in windows:
        draw.rectangle((window.x0, window.y0, window.x1 - 1, window.y1 - 1), outline=_FRAME, width=thick)
    return np.asarray(image)


def _fit(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) floats resized bilinearly to ``size`` (H, W)."""
    return np.asarray(Image.fromarray(np.asarray(values, np.float32)).resize(size[::-1], Image.Resampling.BILINEAR))


def picture_sheet(
    image: np.ndarray,
    coarse: np.ndarray,
    refined: np.ndarray,
    *,
    uncertainty: np.ndarray,
    points: np.ndarray,
    truth: np.ndarray | None = None,
    colours: Colours,
    class_names: Sequence[str] | None = None,
    scores: tuple[float, float] | None = None,
    width: int = 2048,
    n_windows: int = 2,
) -> Image.Image:
    """One picture of a walk: image, labels, coarse, refined, uncertainty, points, and windows where it gained most.

    Args:
        image: (H, W, 3) uint8 RGB.
        coarse, refined: (H, W) labels of the first and of the last scale, at the size of the image.
        uncertainty: (h, w) of the coarse map, any size, in [0, 1].
        points: (h, w) bool, any size: the pixels replaced.
        truth: (H, W) true labels, if known.
        colours: RGB of each class; ``class_names`` go with them in the legend.
        scores: mean IoU in percent of coarse and refined, for their captions.
        width: of the sheet, in pixels; its height follows, with no picture taller than twice this.
        n_windows: rows of magnified windows.

    Raises:
        ValueError: sizes that do not match.
    """
    size = (image.shape[0], image.shape[1])
    for name, labels in (("coarse", coarse), ("refined", refined), ("truth", truth)):
        if labels is not None and labels.shape != size:
            raise ValueError(f"{name}: expected the size of the image, {size}, got {labels.shape}")
    windows = most_improved(coarse, refined, truth, n=n_windows)
    told = ("", "") if scores is None else tuple(f": {score:.1f} mIoU" for score in scores)
    rough, fine = label_picture(coarse, colours), label_picture(refined, colours)
    heat, dots = heat_map(_fit(uncertainty, size)), points_picture(image, points, coarse != refined)
    share = f"{100 * float(points.mean()):.1f}%"

    sheet = Sheet(width)
    panels = [("image", framed(image, windows)), (f"coarse{told[0]}", rough), (f"refined{told[1]}", fine)]
    maps = [("uncertainty of coarse", heat), (f"points replaced at the last scale ({share}), bright: new class", dots)]
    columns = 3
    if truth is None:
        if size[0] > size[1]:  # upright images: all in one row
            columns = 5
    else:
        maps.insert(0, ("labels", label_picture(truth, colours)))
    if columns == 5:
        sheet.row([*panels, *maps], 5)
    else:
        sheet.row(panels, 3)
        sheet.row(maps, 3)
    for number, window in enumerate(windows):
        at = window.slices
        row = [("image, magnified" if number == 0 else "", image[at]), ("coarse" if number == 0 else "", rough[at])]
        row.append(("refined" if number == 0 else "", fine[at]))
        if truth is not None:
            row.append(("labels" if number == 0 else "", label_picture(truth[at], colours)))
        sheet.row(row, len(row), sharp=True)
    names = class_names or [str(i) for i in range(len(colours))]
    return sheet.render(list(zip(names, colours, strict=False)))
