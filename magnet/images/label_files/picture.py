"""Labels and confidence as PNG, for everything that opens pictures."""

from __future__ import annotations

from pathlib import Path

from magnet.images.draw import Colours, colour_table
from magnet.images.label_files.blocks import Blocks, read_block, strips
from magnet.images.png import write_grey_png, write_palette_png

__all__ = ["write_grey", "write_palette"]


def write_palette(labels: Blocks, path: Path, colours: Colours) -> None:
    """Write labels as an 8-bit palette PNG: its pixels are the classes, viewers show their colours."""
    rows = (read_block(labels, box) for box in strips(labels.size))
    write_palette_png(path, labels.size, colour_table(colours), rows)


def write_grey(blocks: Blocks, path: Path) -> None:
    """Write values as an 8-bit grey PNG."""
    write_grey_png(path, blocks.size, (read_block(blocks, box) for box in strips(blocks.size)))
