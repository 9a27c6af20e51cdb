"""Plain values without colours: the ids of a data set, and the confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.label_files.blocks import NO_ANSWER, Blocks, Box, check_same_size, read_block
from magnet.images.label_files.cog import write_cog
from magnet.images.label_files.picture import write_grey
from magnet.images.rasters.raster import Place

__all__ = ["write_confidence", "write_ids"]

_NOTHING = 0  # of confidence: no answer


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
    confidence: Blocks,
    answered: Blocks,
    path: Path,
    place: Place | None = None,
    pyramid: Mapping[str, str] | None = None,
) -> None:
    """Write confidence, 0..255 for 0..1: a GeoTIFF or a pyramid, whose levels are averages, else a grey PNG.

    0 is no answer, as nodata where the file can say it, so that a pixel that has one is at least 1.

    Args:
        confidence: of each pixel.
        answered: labels, 255 where there is no answer.
        path, place, pyramid: as of :func:`write_ids`.

    Raises:
        MagNetError: as :func:`magnet.images.label_files.cog.write_cog`.
        ValueError: the two are not of one size.
    """
    check_same_size(answered, confidence)
    blocks = _Answered(confidence, answered)
    if place is None and pyramid is None:
        write_grey(blocks, path)
    else:
        write_cog(blocks, path, place=place, nodata=_NOTHING, overviews="average", tags=pyramid)


class _Answered:
    def __init__(self, confidence: Blocks, answered: Blocks) -> None:
        self.size: Size = confidence.size
        self._confidence, self._labels = confidence, answered

    def read(self, box: Box) -> np.ndarray:
        sure = np.maximum(read_block(self._confidence, box), np.uint8(_NOTHING + 1))
        return np.where(read_block(self._labels, box) == NO_ANSWER, np.uint8(_NOTHING), sure)


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
