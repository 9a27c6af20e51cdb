"""What a walk sees of one field of a raster: at each scale the level of that scale, and of that only what is looked at.

The pixels of a scale are those of the coarsest level that is fine enough, converted and resized in float32 as those of
an image are, so that a raster of one level and one field is segmented as the image that it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.images.rasters.channels import ToTensor
from magnet.images.rasters.levels import choose_level
from magnet.images.rasters.raster import Raster
from magnet.images.tensors import resize
from magnet.walk.grid import Box
from magnet.walk.maps import whole_image
from magnet.walk.plan import Plan

__all__ = ["FieldViews", "read_box", "valid_in"]

Reading = Callable[[], contextlib.AbstractContextManager[object]]
Convert = Callable[[Tensor, Tensor], Tensor]


class FieldViews:
    """The views of one field: see :class:`magnet.walk.views.Views`.

    Args:
        raster: where it is read from.
        to_tensor: pixels of the raster -> (3, h, w) in [0, 1].
        box: of the field, in pixels of the finest level; may reach beyond the raster, where it is black.
        convert: (images, seen) (1, 3, h, w) in [0, 1] -> normalised; statistics are those of ``seen``, the valid pixels
            of the whole field.
        device: of the networks.
        reading: a context that each read is done in.
    """

    def __init__(
        self,
        raster: Raster,
        to_tensor: ToTensor,
        box: Box,
        convert: Convert,
        device: torch.device,
        reading: Reading = contextlib.nullcontext,
    ) -> None:
        self._raster, self._to_tensor, self._box = raster, to_tensor, box
        self._convert, self._device, self._reading = convert, device, reading
        self._seen: Tensor | None = None  # of the whole field, in [0, 1]
        self._kept: tuple[Size, Tensor] | None = None  # the field at the size that was asked for last

    def whole(self, plan: Plan) -> Tensor:
        scale, size = plan.scales[0], plan.whole
        pixels, valid = self._read(self._box, _larger(scale, size))
        self._seen = pixels
        if valid.any() and not valid.all():  # colours are judged by what is there
            self._seen = pixels[..., torch.from_numpy(valid).to(pixels.device)][:, :, None]
        return whole_image(self._convert(pixels, self._seen), scale, size)

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        corners = [(int(x0), int(y0), int(x1), int(y1)) for _, x0, y0, x1, y1 in boxes.tolist()]
        if not self._is_exact(scale):
            if self._kept is None or self._kept[0] != scale:
                self._kept = scale, resize(self._convert(self._read(self._box, scale)[0], self._all()), scale)
            whole = self._kept[1]
            return torch.cat([whole[..., y0:y1, x0:x1] for x0, y0, x1, y1 in corners])
        x, y = self._box[0], self._box[1]
        rows, columns = self._pitch(scale)
        found = []
        for x0, y0, x1, y1 in corners:
            box = (x + x0 * columns, y + y0 * rows, x + x1 * columns, y + y1 * rows)
            found.append(self._convert(self._read(box, (y1 - y0, x1 - x0))[0], self._all()))
        return torch.cat(found)

    def _all(self) -> Tensor:
        assert self._seen is not None  # the whole comes first
        return self._seen

    def _pitch(self, size: Size) -> tuple[int, int]:
        """Pixels of the finest level that one of ``size`` spans, where these are whole numbers; else rounded down."""
        x0, y0, x1, y1 = self._box
        return (y1 - y0) // size[0], (x1 - x0) // size[1]

    def _is_exact(self, size: Size) -> bool:
        """Whether the pixels of ``size`` are those of a level, so that a patch can be read by itself."""
        x0, y0, x1, y1 = self._box
        rows, columns = self._pitch(size)
        if (y1 - y0, x1 - x0) != (size[0] * rows, size[1] * columns):
            return False
        level = choose_level(self._raster.factors, (rows, columns))
        return self._raster.factors[level] == (rows, columns) and x0 % columns == 0 and y0 % rows == 0

    def _read(self, box: Box, size: Size) -> tuple[Tensor, np.ndarray]:
        """(1, 3, h, w) in [0, 1] and (h, w) bool: the box in the pixels of the level that serves ``size``, or at it."""
        with self._reading():
            pixels, valid = read_box(self._raster, box, size)
            return self._to_tensor(pixels, valid)[None].to(self._device), valid


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


def _larger(one: Size, other: Size) -> Size:
    return max(one[0], other[0]), max(one[1], other[1])
