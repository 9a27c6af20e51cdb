"""What a walk sees of one field of a raster: at each scale the level of that scale, and of that only what is looked at.

The pixels of a scale are those of the coarsest level that is fine enough, converted and resized in float32 as those of
an image are, so that a raster of one level and one field is segmented as the image that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.devices import send
from magnet.images.rasters.channels import ToTensor
from magnet.images.rasters.levels import choose_level
from magnet.images.rasters.raster import Raster
from magnet.images.tensors import resize
from magnet.walk.ahead import READERS, Ahead
from magnet.walk.grid import Box
from magnet.walk.maps import whole_image
from magnet.walk.plan import Plan

__all__ = ["FieldViews", "first_look", "read_box", "valid_in"]

_AHEAD, _AHEAD_BYTES = 16, 1 << 25  # patches that are read before they are asked for, and their bytes


class FieldViews:
    """The views of one field: see :class:`magnet.walk.views.Views`.

    Patches are read and converted by the readers, from the time on that they are expected; who asks for them waits for
    what is not there yet.

    Args:
        raster: where it is read from.
        to_tensor: pixels of the raster -> (C, h, w) in [0, 1].
        box: of the field, in pixels of the finest level; may reach beyond the raster, where it is black.
        convert: images (1, C, h, w) in [0, 1] -> normalised. Called by the readers, on the CPU.
        device: of the networks.
        pool: the readers; None: who asks reads.
        result: waits for a reader.
    """

    def __init__(
        self,
        raster: Raster,
        to_tensor: ToTensor,
        box: Box,
        convert: Callable[[Tensor], Tensor],
        device: torch.device,
        pool: Executor | None = None,
        result: Callable[[Future[Tensor]], Tensor] = Future.result,
    ) -> None:
        self._raster, self._to_tensor, self._box = raster, to_tensor, box
        self._convert, self._device, self._pool, self._result = convert, device, pool, result
        self._first: Tensor | None = None  # the whole field, as it is read
        self._resized: Tensor | None = None  # the field at a scale, or the part of it that was read last
        self._coming: Ahead[Tensor] | None = None

    def read_whole(self, plan: Plan) -> None:
        """Read what :meth:`whole` shows, by any thread."""
        self._first = self._patch(self._box, first_look(plan))

    def whole(self, plan: Plan) -> Tensor:
        if self._first is None:
            self.read_whole(plan)
        assert self._first is not None
        first, self._first = self._first, None
        return whole_image(send(first, self._device), plan.scales[0], plan.whole)

    def expect(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        boxes = boxes.cpu()
        self._resized = None
        reads: list[Callable[[], Tensor]]
        if (ratio := self._ratio(scale)) is not None:
            x, y = self._box[:2]
            rows, columns = self._pitch(scale)
            read = [_widened(box, scale, ratio) for box in _corners(boxes)]
            places = [(x + a * columns, y + b * rows, x + c * columns, y + d * rows) for a, b, c, d in read]
            reads = [
                partial(self._patch, place, (d - b, c - a)) for place, (a, b, c, d) in zip(places, read, strict=True)
            ]
        else:
            reads = [partial(self._patch, self._box, scale)] if len(boxes) else []
        patch = 4 * len(self._to_tensor.index) * patch_size[0] * patch_size[1]
        self._coming = Ahead(self._pool, reads, min(max(_AHEAD_BYTES // patch, READERS), _AHEAD))
        return boxes

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        assert self._coming is not None  # they are expected
        ratio = self._ratio(scale)
        if ratio == (1, 1):
            return send(torch.cat([self._result(next(self._coming)) for _ in range(len(boxes))]), self._device)
        found = []
        for x0, y0, x1, y1 in _corners(boxes):
            left, top, right, bottom = (0, 0, scale[1], scale[0])
            if ratio is not None:
                left, top, right, bottom = _widened((x0, y0, x1, y1), scale, ratio)
            if ratio is not None or self._resized is None:
                read = send(self._result(next(self._coming)), self._device)
                self._resized = resize(read, (bottom - top, right - left))
            found.append(self._resized[..., y0 - top : y1 - top, x0 - left : x1 - left])
        return torch.cat(found)

    def _pitch(self, size: Size) -> tuple[int, int]:
        """Pixels of the finest level that one of ``size`` spans, where these are whole numbers; else rounded down."""
        x0, y0, x1, y1 = self._box
        return (y1 - y0) // size[0], (x1 - x0) // size[1]

    def _ratio(self, size: Size) -> Size | None:
        """How many pixels of a level one of ``size`` spans, (rows, columns), where a patch can be read by itself.

        That is so where these are whole numbers: a pixel is then made of the same pixels with the same weights, bit for
        bit, whatever else is resized with it.
        """
        x0, y0, x1, y1 = self._box
        rows, columns = self._pitch(size)
        if (y1 - y0, x1 - x0) != (size[0] * rows, size[1] * columns):
            return None
        across, along = self._raster.factors[choose_level(self._raster.factors, (rows, columns))]
        if rows % across or columns % along or x0 % along or y0 % across:
            return None
        return int(rows / across), int(columns / along)

    def _patch(self, box: Box, size: Size) -> Tensor:
        """(1, C, h, w), converted: the box in the pixels of the level that serves ``size``, or at it."""
        return self._convert(self._to_tensor(*read_box(self._raster, box, size))[None])


def first_look(plan: Plan) -> Size:
    """(H, W) that a field is read for where all of it is looked at."""
    return max(plan.scales[0][0], plan.whole[0]), max(plan.scales[0][1], plan.whole[1])


def read_box(raster: Raster, box: Box, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of a box: of the coarsest level fine enough for ``size``, not resized, where it lies on whole
    pixels of that; else resized to ``size``. Beyond the raster there are zeros, which are not valid."""
    x0, y0, x1, y1 = box
    level = choose_level(raster.factors, ((y1 - y0) / size[0], (x1 - x0) / size[1]))
    rows, columns = raster.factors[level]
    inside = [v / columns for v in (x0, x1)], [v / rows for v in (y0, y1)]
    if not all(v == int(v) for axis in inside for v in axis):
        return raster.read(box, size)
    (left, right), (top, bottom) = ([int(v) for v in axis] for axis in inside)
    height, width = raster.levels[level]
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if cut == (left, top, right, bottom):
        return raster.read_level(level, cut)
    pixels = np.zeros((bottom - top, right - left, raster.channels), raster.dtype)
    valid = np.zeros((bottom - top, right - left), bool)
    if cut[0] < cut[2] and cut[1] < cut[3]:
        part = np.s_[cut[1] - top : cut[3] - top, cut[0] - left : cut[2] - left]
        pixels[part], valid[part] = raster.read_level(level, cut)
    return pixels, valid


def valid_in(raster: Raster, box: Box) -> np.ndarray | None:
    """(h, w) bool, the pixels of a box of the finest level that hold a value; None: all pixels of this raster do."""
    if not raster.may_be_invalid:
        return None
    level = raster.validity_level
    if level == 0:
        return raster.read_level(0, box)[1]
    (rows, columns), (height, width) = raster.factors[level], raster.levels[level]
    ys = np.minimum((np.arange(box[1], box[3]) / rows).astype(np.int64), height - 1)
    xs = np.minimum((np.arange(box[0], box[2]) / columns).astype(np.int64), width - 1)
    valid = raster.read_level(level, (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1))[1]
    return valid[np.ix_(ys - ys[0], xs - xs[0])]


def _corners(boxes: Tensor) -> list[Box]:
    return [(int(x0), int(y0), int(x1), int(y1)) for _, x0, y0, x1, y1 in boxes.tolist()]


def _widened(box: Box, scale: Size, ratio: Size) -> Box:
    """A box with the pixel beside it along each axis that is resized, which its border is made of, too."""
    (rows, columns), (height, width) = (int(one > 1) for one in ratio), scale
    x0, y0, x1, y1 = box
    return max(x0 - columns, 0), max(y0 - rows, 0), min(x1 + columns, width), min(y1 + rows, height)
