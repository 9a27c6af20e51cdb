"""One picture: for each case the fraction of the floor that our kernels reach."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gpu.results import OURS, Row

COLOURS = {"cuda": (38, 110, 180), "triton": (225, 130, 40), "cpu": (130, 130, 130)}
LINE, LABELS, BARS, TOP = 18, 470, 500, 56
BLACK, GREY = (20, 20, 20), (205, 205, 205)


def draw(rows: list[Row], title: str) -> Image.Image:
    """Bars of at most 100 %; a longer one (data that an implementation need not read) is cut there and says so."""
    shown = [row for row in rows if row.variant in OURS]
    height = TOP + LINE * max(1, len(shown)) + 12
    image = Image.new("RGB", (LABELS + BARS + 150, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default()
    pen.text((10, 8), title, BLACK, font)
    for percent in range(0, 101, 20):
        x = LABELS + BARS * percent // 100
        pen.line((x, TOP - 8, x, height - 8), GREY)
        pen.text((x - 8, TOP - 24), f"{percent}%", BLACK, font)
    for index, row in enumerate(shown):
        y = TOP + LINE * index
        pen.text((10, y + 2), row.case, BLACK, font)
        length = int(BARS * min(1.0, row.fraction))
        pen.rectangle((LABELS, y + 2, LABELS + max(1, length), y + LINE - 4), COLOURS[row.variant])
        pen.text((LABELS + length + 6, y + 2), f"{row.fraction:.0%} {row.variant} {row.kernel_us:.1f} us", BLACK, font)
    return image


def write_png(path: Path, rows: list[Row], title: str) -> None:
    draw(rows, title).save(path)
