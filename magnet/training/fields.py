"""Rasters as training images: each field of the last scale is an image of its own, read by window."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from magnet.bounds import Box, Size
from magnet.data.dataset import IGNORE_INDEX, Colour, Dataset, colours_of, label_mapping
from magnet.data.extent import field_size
from magnet.data.labelled_files import LabelledFiles
from magnet.data.labelled_raster import LabelledRaster
from magnet.data.labels import resize_labels
from magnet.data.unreadable import each
from magnet.distributed import is_main
from magnet.errors import MagNetError
from magnet.images.rasters.declared_range import tell_range
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import TiledRaster
from magnet.images.resize_pixels import resize_pixels
from magnet.walk.field_views import read_box
from magnet.walk.fields import lay_out

__all__ = ["Fields", "as_fields"]

_LOG = logging.getLogger("magnet")

_OPEN = 2  # rasters that a process keeps open: samples of one image follow each other where there are few
_CACHE_BYTES = 1 << 25  # of decoded tiles of each
_TRIES = 4  # other places, where one has next to nothing to learn from
_ENOUGH = 0.2  # of the pixels of a field
_COARSE = 8  # pixels that one of a level spans, at least, by which fields are judged


class _Item(NamedTuple):
    """An image of the data set, and of ground the box of a field and the part of it that is its own."""

    file: int
    box: Box | None = None
    own: Box | None = None


def as_fields(dataset: Dataset, sizes: list[Size], scale: Size) -> Dataset:
    """The data set itself, where all its images are scenes; else its scenes and the fields of its rasters.

    Args:
        dataset: labelled images.
        sizes: (H, W) at which fields are asked for.
        scale: (H, W) of the last scale.

    Raises:
        MagNetError: an image that may be ground cannot be opened, or its labels do not fit it.
    """
    if not isinstance(dataset, LabelledFiles):
        return dataset
    ground = each(lambda index: dataset.is_ground(index, scale), len(dataset), f"opening {dataset.split}")
    if any(ground):
        return Fields(dataset, list(ground), sizes, scale)
    if dataset.inputs.resolution is not None and is_main():
        _LOG.warning(
            f"data.resolution: none of the images of the split '{dataset.split}' of '{dataset.place}' is ground, which "
            "is seen at it; scenes are resized whole, or set data.extent to ground"
        )
    return dataset


class Fields:
    """A data set of scenes and of the fields of rasters.

    Fields lie side by side, and each is an image: its name says where. With a generator, ``view`` moves a field at
    random within its surroundings, so that places of a raster are drawn about evenly, but for its borders.
    Fields without a labelled pixel are left out. Fields come in an order that is mixed, but always the same, as
    validations look at the first ones.

    Args:
        files: images and labels.
        ground: of each of them, whether it is seen in fields.
        sizes: (H, W) at which fields are asked for.
        scale: (H, W) of a field in pixels of the last scale.

    Raises:
        MagNetError: an image of ground cannot be opened, its labels do not fit it, or none is labelled.
    """

    def __init__(self, files: LabelledFiles, ground: list[bool], sizes: list[Size], scale: Size) -> None:
        self._files, self._scale, self._sizes = files, scale, list(sizes)
        self._opened: OrderedDict[int, LabelledRaster] = OrderedDict()
        self._process = os.getpid()
        self.class_names = files.class_names
        self.colours: list[Colour] | None = colours_of(files)
        self.inputs, self.mapping = files.inputs, label_mapping(files)
        self.varies = files.varies
        found = each(lambda i: self._of(i) if ground[i] else [_Item(i)], len(files), f"laying out {files.split}")
        items = [item for part in found for item in part]
        if not items:
            raise MagNetError(
                f"data: no field of the split '{files.split}' of '{files.place}' has a labelled pixel where its image "
                "holds a value; mend the labels, or the nodata of images and labels"
            )
        order = np.random.default_rng(0).permutation(len(items))
        self._items = [items[i] for i in order]

    @property
    def num_classes(self) -> int:
        return self._files.num_classes

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> dict[str, Any]:
        """Without opened files, which belong to one process."""
        return {**self.__dict__, "_opened": OrderedDict()}

    def name(self, index: int) -> str:
        """Name of a scene, or that of a raster and the column and row at which a field begins."""
        item = self._items[index]
        name = self._files.name(item.file)
        return name if item.box is None else f"{name}_{item.box[0]}_{item.box[1]}"

    def size(self, index: int) -> Size:
        """(H, W) of a scene; of a field the largest that it is asked for at."""
        item = self._items[index]
        if item.box is None:
            return self._files.size(item.file)
        return max(h for h, _ in self._sizes), max(w for _, w in self._sizes)

    def load(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8 of a scene; of a field at the last scale."""
        view = self.view(index, rng)
        return self._files.load(self._items[index].file, rng) if view is None else view.at(self._scale)

    def by_window(self, index: int) -> bool:
        """Whether it is a field."""
        return self._items[index].box is not None

    def view(self, index: int, rng: np.random.Generator | None = None) -> FieldView | None:
        """A field, to be read at any size; None: it is a scene.

        Args:
            index: of a scene or a field.
            rng: moves the field; None: it lies where it lies, and what its neighbours hold, too, is ignored in it.

        Raises:
            MagNetError: a file is damaged, or holds values of no class.
        """
        item = self._items[index]
        if item.box is None or item.own is None:
            return None
        opened = self._open(item.file, rng)
        if rng is None:
            return FieldView(opened, item.box, _only(opened.read_labels(item.box), item.box, item.own))
        for _ in range(_TRIES):
            box = self._moved(opened.raster, item.box, item.own, rng)
            view = FieldView(opened, box, opened.read_labels(box))
            if view.labelled(self._sizes[0]) > _ENOUGH:
                break
        return view

    def _moved(self, raster: Raster, box: Box, own: Box, rng: np.random.Generator) -> Box:
        """A field whose centre is anywhere in ``own``, or as near to it as the border lets it lie."""
        corner = []
        for axis in (0, 1):  # x, y
            length, whole = box[axis + 2] - box[axis], raster.size[1 - axis]
            start = int(rng.integers(own[axis], own[axis + 2])) - length // 2
            start = max(min(start, whole - length), 0)
            corner.append(start - start % self._step(raster, length, 1 - axis))
        x, y = corner
        return x, y, x + box[2] - box[0], y + box[3] - box[1]

    def _step(self, raster: Raster, length: int, axis: int) -> int:
        """What fields begin at multiples of, to lie on whole pixels of the levels that they are read from."""
        coarsest = length / min(size[axis] for size in self._sizes)
        return max((int(f[axis]) for f in raster.factors if f[axis] == int(f[axis]) <= coarsest), default=1)

    def _open(self, index: int, rng: np.random.Generator | None) -> LabelledRaster:
        """An image, kept open for the next sample; of labels that are drawn anew each time, opened anew."""
        if self._process != os.getpid():  # forked: what the parent opened is the parent's
            self._opened, self._process = OrderedDict(), os.getpid()
        drawn = rng if self.varies else None
        if drawn is None and index in self._opened:
            self._opened.move_to_end(index)
            return self._opened[index]
        opened = self._files.open(index, drawn)
        if isinstance(opened.raster, TiledRaster):
            opened.raster.cache_bytes = _CACHE_BYTES
        if drawn is None:
            while len(self._opened) >= _OPEN:
                self._opened.popitem(last=False)  # a view of it may be in use: it is closed with the last one
            self._opened[index] = opened
        return opened

    def _of(self, index: int) -> list[_Item]:
        """The fields of a raster that hold a labelled pixel."""
        with self._files.open(index) as opened:
            raster = opened.raster
            tell_range(raster, self.inputs.chosen, opened.to_tensor)
            size = field_size(raster, self._scale, self._files.inputs.resolution)
            step = min(self._step(raster, size[0], 0), self._step(raster, size[1], 1))
            fields = lay_out(raster.size, size, overlap=0, step=step)
            labelled = np.zeros(len(fields), bool)
            for box in opened.label_boxes():
                labels = opened.read_labels(box)
                for i, field in enumerate(fields):
                    labelled[i] = labelled[i] or bool((_part(labels, box, field.own) != IGNORE_INDEX).any())
            return [_Item(index, f.box, f.own) for f in fields if labelled[f.number] and _is_seen(raster, f.own)]


class FieldView:
    """A field of a raster: see :class:`magnet.data.dataset.View`.

    Args:
        opened: image and labels.
        box: of the field, in pixels; may reach beyond the image, where it is black and ignored.
        labels: of the field.
    """

    def __init__(self, opened: LabelledRaster, box: Box, labels: np.ndarray) -> None:
        self._opened, self._box, self._labels = opened, box, labels

    def at(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, C), as the data set gives it, of the level of the file that serves ``size`` (h, w), and labels
        (h, w) uint8 by nearest pixel, 255 where the image holds no value."""
        image, valid = self._image(size)
        labels = resize_labels(self._labels, size)
        return image, labels if valid.all() else np.where(valid, labels, np.uint8(IGNORE_INDEX))

    def seen(self, size: Size) -> np.ndarray:
        """(1, n, C): the pixels of the image at ``size`` (h, w) that hold a value."""
        image, valid = self._image(size)
        return image[valid][None]

    def _image(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, C), and (h, w) bool, whether the pixel at the centre of each holds a value."""
        pixels, valid = read_box(self._opened.raster, self._box, size)
        image = self._opened.to_tensor.seen(pixels, valid)
        if image.shape[:2] != tuple(size):
            image = resize_pixels(image, size)
        return image, resize_labels(valid, size)

    def labelled(self, size: Size) -> float:
        """The share of its pixels that have a label, and a value in the image at ``size``."""
        if not self._opened.raster.may_be_invalid:
            return float((self._labels[::4, ::4] != IGNORE_INDEX).mean())
        return float((self.at(size)[1] != IGNORE_INDEX).mean())


def _part(labels: np.ndarray, box: Box, other: Box) -> np.ndarray:
    """Of the labels within ``box`` those within ``other``, too."""
    x, y = box[:2]
    return labels[max(other[1] - y, 0) : max(other[3] - y, 0), max(other[0] - x, 0) : max(other[2] - x, 0)]


def _only(labels: np.ndarray, box: Box, own: Box) -> np.ndarray:
    """Labels within ``box``, ignored outside of ``own``."""
    kept = np.full_like(labels, IGNORE_INDEX)
    part = _part(kept, box, own)
    part[:] = _part(labels, box, own)
    return kept


def _is_seen(raster: Raster, box: Box) -> bool:
    """Whether any pixel of a box holds a value, as far as a coarse level tells; True where there is none."""
    factor = max(raster.factors[-1])
    if not raster.may_be_invalid or factor < _COARSE:
        return True
    width, height = (max(1, round((box[i + 2] - box[i]) / factor)) for i in (0, 1))
    return bool(raster.read(box, (height, width))[1].any())
