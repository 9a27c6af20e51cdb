"""One labelled image that is read by window: only the tiles that it touches are decoded, where there are some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import numpy as np

from magnet.bounds import Box
from magnet.data.dataset import IGNORE_INDEX
from magnet.data.label_raster import LabelRaster
from magnet.data.labels import Decoded, LabelCode
from magnet.images.rasters.channels import ToTensor
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import row_boxes

__all__ = ["LabelledRaster"]


class LabelledRaster:
    """An opened image and its labels; made by ``LabelledFiles.open``. A context manager: leaving it closes the files.

    Attributes:
        raster: the image.
        to_tensor: its pixels -> what a network sees.
        size: (H, W).
    """

    def __init__(
        self,
        raster: Raster,
        to_tensor: ToTensor,
        labels: LabelRaster | np.ndarray,
        code: LabelCode,
        check: Callable[[Decoded], None],
    ) -> None:
        self.raster, self.to_tensor, self.size = raster, to_tensor, raster.size
        self._labels, self._code, self._check = labels, code, check

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; may be called again."""
        self.raster.close()
        if isinstance(self._labels, LabelRaster):
            self._labels.close()

    @property
    def label_tiles_read(self) -> int:
        """How many tiles of the labels were decoded; 0 where they were read whole."""
        return self._labels.raster.tiles_read.total() if isinstance(self._labels, LabelRaster) else 0

    def label_boxes(self) -> Iterator[Box]:
        """Boxes that make up the image, for reading its labels from end to end, each tile once."""
        if isinstance(self._labels, LabelRaster):
            return row_boxes(self._labels.raster)
        return iter([(0, 0, self.size[1], self.size[0])])

    def read_labels(self, box: Box) -> np.ndarray:
        """The labels within ``box`` (x0, y0, x1, y1) as (y1 - y0, x1 - x0) uint8.

        Args:
            box: in pixels, which may reach beyond the image; there, and where the label file says that a pixel has no
                value, labels are 255.

        Raises:
            MagNetError: the file is damaged, or holds values of no class.
        """
        x0, y0, x1, y1 = box
        height, width = self.size
        inside = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        labels = np.full((y1 - y0, x1 - x0), IGNORE_INDEX, np.uint8)
        if inside[0] < inside[2] and inside[1] < inside[3]:
            labels[inside[1] - y0 : inside[3] - y0, inside[0] - x0 : inside[2] - x0] = self._within(inside)
        return labels

    def _within(self, box: Box) -> np.ndarray:
        if not isinstance(self._labels, LabelRaster):
            return self._labels[box[1] : box[3], box[0] : box[2]]
        decoded = self._code.window(self._labels, box)
        self._check(decoded)
        return decoded.labels
