"""Images of a data set with their labels over them, on one sheet: a mistake in labels shows at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import LabelledFiles
from magnet.errors import MagNetError, printable
from magnet.images.draw import Colours, Sheet, default_colours, overlay
from magnet.images.picture import as_picture

__all__ = ["label_sheet"]

_WIDTH = 2000  # pixels of the sheet
_COLUMNS = 6  # three images, each with its labels beside it
_IMAGES = 12  # of each split
_NAME = 22  # letters of a name


def label_sheet(datasets: Sequence[LabelledFiles]) -> Image.Image:
    """A sheet of up to 12 images of each split, from its first to its last, each beside itself with its labels.

    Images that cannot be read, or do not fit their labels, are left out, as are maps that are too large to be read
    whole; the sheet says so.

    Args:
        datasets: the splits, of one list of classes.
    """
    sheet = Sheet(_WIDTH, text=16)
    names = datasets[0].class_names
    colours: Colours = datasets[0].colours or default_colours(len(names))
    for dataset in datasets:
        chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _IMAGES)).round().astype(int)).tolist()
        pairs = [_pair(dataset, index, colours) for index in chosen]
        for first in range(0, len(pairs), _COLUMNS // 2):
            sheet.row([picture for pair in pairs[first : first + _COLUMNS // 2] for picture in pair], _COLUMNS)
    return sheet.render(list(zip(names, colours, strict=False)))


def _pair(dataset: LabelledFiles, index: int, colours: Colours) -> list[tuple[str, np.ndarray]]:
    """An image, and the same with its labels, with captions; two grey squares where it is left out."""
    caption = f"{dataset.split}: {printable(dataset.name(index))[-_NAME:]}"
    pair = None
    with contextlib.suppress(MagNetError):
        pair = None if dataset.by_parts(index) else dataset.load(index)
    if pair is None:
        grey = np.full((64, 64, 3), 200, np.uint8)
        return [(caption, grey), ("left out", grey)]
    picture, labels = as_picture(pair[0]), pair[1]
    ignored = (labels == IGNORE_INDEX)[..., None]
    shown = np.where(ignored, picture, overlay(picture, labels, colours))
    return [(caption, _shrunk(picture)), ("", _shrunk(shown))]


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """A picture no larger than the sheet shows it, as there are many of them."""
    image = Image.fromarray(picture)
    image.thumbnail((_WIDTH // _COLUMNS, _WIDTH))
    return np.asarray(image)
