"""Plain values without colours: the ids of a data set, and the confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.label_files.blocks import NO_ANSWER, Blocks, Box, read_block
from magnet.images.label_files.cog import write_cog
from magnet.images.label_files.picture import write_grey
from magnet.images.rasters.raster import Place

__all__ = ["write_confidence", "write_ids"]


def write_ids(
    labels: Blocks,
    path: Path,
    mapping: Mapping[int, int] | None = None,
    place: Place | None = None,
    pyramid: Mapping[str, str] | None = None,
) -> None:
    """Write labels as the ids of a data set, without colours: a GeoTIFF, a pyramid, else a grey PNG.

    Args:
        labels: class ids, 255 for no answer, which stays 255.
        path: the file to make.
        mapping: the id, 0..254, of each class; None: the class itself.
        place: CRS and transform: a GeoTIFF.
        pyramid: the tags of one, see :func:`magnet.images.label_files.pyramid.pyramid_tags`.

    Raises:
        ValueError: an id or a class that cannot be.
        MagNetError: a class that is not in the mapping; as :func:`magnet.images.label_files.cog.write_cog`.
    """
    blocks = labels if mapping is None else _Mapped(labels, mapping)
    if place is None and pyramid is None:
        write_grey(blocks, path)
    else:
        write_cog(blocks, path, place=place, nodata=NO_ANSWER, tags=pyramid)


def write_confidence(
    confidence: Blocks, path: Path, place: Place | None = None, pyramid: Mapping[str, str] | None = None
) -> None:
    """Write confidence, 0..255 for 0..1: a GeoTIFF or a pyramid, whose levels are averages, else a grey PNG.

    Where which is written is said as for :func:`write_ids`. There is no nodata: no answer is a confidence of 0.

    Raises:
        MagNetError: as :func:`magnet.images.label_files.cog.write_cog`.
    """
    if place is None and pyramid is None:
        write_grey(confidence, path)
    else:
        write_cog(confidence, path, place=place, overviews="average", tags=pyramid)


class _Mapped:
    def __init__(self, labels: Blocks, mapping: Mapping[int, int]) -> None:
        wrong = {one: to for one, to in mapping.items() if not (0 <= one < NO_ANSWER and 0 <= to < NO_ANSWER)}
        if wrong:
            raise ValueError(
                f"mapping: expected classes and ids of 0..{NO_ANSWER - 1}, got {wrong}; 255 is kept for no answer"
            )
        self.size: Size = labels.size
        self._labels = labels
        self._table = np.full(256, NO_ANSWER, np.uint8)
        self._table[list(mapping)] = list(mapping.values())
        self._known = np.zeros(256, bool)
        self._known[[*mapping, NO_ANSWER]] = True

    def read(self, box: Box) -> np.ndarray:
        block = read_block(self._labels, box)
        known = self._known[block]
        if not known.all():
            raise MagNetError(
                f"mapping: expected an id for each class, got none for class {block[~known][0]}; add it to the mapping"
            )
        return self._table[block]
