"""Label files: what they may hold, and how their values or colours become class ids."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from PIL import Image

from magnet.bounds import Box
from magnet.data.dataset import IGNORE_INDEX, Colour
from magnet.data.label_raster import LabelRaster, Samples, needs_raster, open_label_raster
from magnet.errors import MagNetError
from magnet.images.deflate import check_pieces
from magnet.images.large import fitting_size, read_fitting_labels
from magnet.images.lossy import lossy_format
from magnet.images.opening import FORMATS, CorruptImageError, PixelsError, failures, quiet
from magnet.images.rasters.tiles import row_boxes
from magnet.images.read import checked_head, is_large, unturned
from magnet.images.tiff import mend_palette, read_head
from magnet.images.whole import whole
from magnet.notices import tell

__all__ = [
    "IN_YAML",
    "ClassColours",
    "ClassIds",
    "Decoded",
    "LabelCode",
    "Tally",
    "ValidPixels",
    "count_windows",
    "lossy_message",
    "mapping_of",
    "nearest_pixels",
    "open_labels",
    "read_labels",
    "resize_labels",
]

IN_YAML = "in a YAML description of the data (data.format yaml)"
_NO_CLASS = 254
_ROWS = 1024  # counted at a time


class Decoded(NamedTuple):
    """Labels of one file.

    Args:
        labels: (H, W) uint8 class ids, 255 where ignored and where the file holds no class.
        strange: pixel count of each value or colour, as text, that stands for no class.
        path: the file; of several, the first with such values.
        values: pixel count of each of the 256 values of the file, where it holds values.
        lossy: the compression that may have changed pixels, as "JPEG"; empty: none.
    """

    labels: np.ndarray
    strange: dict[str, int]
    path: str | os.PathLike[str]
    values: np.ndarray | None = None
    lossy: str = ""


class ValidPixels(NamedTuple):
    """Where an image of (H, W) ``size`` holds a value: ``within`` gives (y1 - y0, x1 - x0) bool of a box."""

    size: tuple[int, int]
    within: Callable[[Box], np.ndarray]

    def tally(self, labels: np.ndarray, box: Box) -> np.ndarray:
        """(256,) how often each label of a box is there, 255 where there is no value."""
        return np.bincount(np.where(self.within(box), labels, np.uint8(IGNORE_INDEX)).ravel(), minlength=256)


class Tally(NamedTuple):
    """What a label file holds, counted.

    Args:
        size: (H, W) of the labels.
        classes: (256,) pixels of each class id, 255 = ignored, as where the image holds no value.
        found: as of all of the file, but its labels are left out (0, 0).
    """

    size: tuple[int, int]
    classes: np.ndarray
    found: Decoded

    @classmethod
    def of(cls, decoded: Decoded, seen: ValidPixels | None = None) -> Tally:
        """Of labels that were read; ``seen`` as of :func:`count_windows`."""
        height, width = decoded.labels.shape
        if seen is None or seen.size != (height, width):
            classes = np.bincount(decoded.labels.ravel(), minlength=256)
        else:
            classes = np.zeros(256, np.int64)
            for y in range(0, height, _ROWS):
                rows = decoded.labels[y : y + _ROWS]
                classes += seen.tally(rows, (0, y, width, y + len(rows)))
        return cls((height, width), classes, decoded._replace(labels=np.empty((0, 0), np.uint8)))


class LabelCode(Protocol):
    """How a label file says which class a pixel has."""

    undeclared: bool  # 255 is ignored because it always is, not because the data set says so

    @property
    def meaning(self) -> object:
        """All that decides what a file means, to be compared."""
        ...

    def read(self, path: str | os.PathLike[str]) -> Decoded: ...

    def window(self, raster: LabelRaster, box: Box) -> Decoded:
        """As :meth:`read`, of the pixels within ``box`` (x0, y0, x1, y1) of an opened file."""
        ...

    def check(self, decoded: Decoded) -> str | None:
        """What to tell of values that stand for no class; raises MagNetError where they are not allowed."""
        ...


class ClassIds:
    """8-bit label images whose pixels are class ids, or values that are mapped to them.

    Args:
        num_classes: number of classes; ids are 0..num_classes - 1.
        mapping: class id of each value; empty: values are class ids.
        ignored: values that are ignored, besides 255 (unless that is mapped). 255 among them declares it.

    Attributes:
        mapping: class id of each value that is not ignored; None: values are class ids.
    """

    def __init__(
        self, num_classes: int, mapping: Mapping[int, int] | None = None, ignored: Collection[int] = ()
    ) -> None:
        self.undeclared = IGNORE_INDEX not in ignored and IGNORE_INDEX not in (mapping or {})
        self._mapped = mapping is not None
        self.mapping = None if mapping is None else {v: c for v, c in mapping.items() if v not in ignored}
        self._num_classes = num_classes
        self._table = np.full(256, IGNORE_INDEX, np.uint8)
        self._known = np.zeros(256, bool)
        self._known[[IGNORE_INDEX, *ignored]] = True
        for value, number in (mapping if mapping is not None else {i: i for i in range(num_classes)}).items():
            if value not in ignored:
                self._table[value], self._known[value] = number, True

    @property
    def meaning(self) -> object:
        return self._table.tolist(), self._known.tolist()

    def read(self, path: str | os.PathLike[str]) -> Decoded:
        """Raises MagNetError: missing or corrupt file, more than one channel or 8 bits, a palette that contradicts."""
        return self._decoded(_read(path, ("L", "P", "1"), "an 8-bit image of class ids"), path)

    def window(self, raster: LabelRaster, box: Box) -> Decoded:
        """Raises MagNetError: a damaged file, more than one band, a palette that contradicts."""
        return self._decoded(raster.read(box, colours=False), raster.path)

    def _decoded(self, samples: Samples, path: str | os.PathLike[str]) -> Decoded:
        values, lossy, palette, valid, nodata = samples
        if nodata is not None and valid is not None and 0 <= nodata <= 255 and self._is_class(int(nodata)):
            tell(
                "name a class as nodata, which is ignored",
                path,
                f"names {nodata:g} as nodata, which is also the id of a class: such pixels are ignored",
                "if they are of that class, take the nodata out of the file, as with gdal_edit.py -unsetnodata",
            )
        beyond: dict[str, int] = {}
        if values.dtype != np.uint8:  # more than 8 bits: whatever no byte holds is of no class
            outside = (values < 0) | (values > 255)
            if outside.any():
                counted = outside if valid is None else outside & valid
                found, times = np.unique(values[counted], return_counts=True)
                beyond = {str(v): int(n) for v, n in zip(found, times, strict=True)}
                valid = ~outside if valid is None else valid & ~outside
            values = values.astype(np.uint8)
        counts = np.bincount(values.ravel() if valid is None else values[valid], minlength=256)
        if palette is not None:
            self._check_palette(np.flatnonzero(counts), palette, path)
        strange = np.flatnonzero((counts > 0) & ~self._known)
        labels = self._table[values]
        if valid is not None:
            labels[~valid] = IGNORE_INDEX
        return Decoded(labels, {str(v): int(counts[v]) for v in strange} | beyond, path, counts, lossy)

    def _is_class(self, value: int) -> bool:
        return bool(self._known[value]) and int(self._table[value]) != IGNORE_INDEX

    def _check_palette(self, used: np.ndarray, palette: np.ndarray, path: str | os.PathLike[str]) -> None:
        """Refuse a palette whose greys are class ids, and others than the numbers of its entries.

        Tools that reduce the colours of a grey label picture write such files. Greys to look at (0, 128, 255) are no
        class ids, or are ignored.

        Args:
            used: numbers of the entries that pixels have.
            palette: (256, 3) uint8 RGB.
        """
        greys = palette[used, 0]
        if self._known.all() or (palette[used] != greys[:, None]).any():
            return
        for number, grey in zip(used.tolist(), greys.tolist(), strict=True):
            if number != grey and self._is_class(grey):
                raise MagNetError(
                    f"labels: expected class ids, got a palette whose entry {number} is the grey {grey}, so that it is "
                    f"not clear which of them is the id: '{path}'; save the ids as 8-bit grey, without a palette"
                )

    def check(self, decoded: Decoded) -> str | None:
        found, path = ", ".join(list(decoded.strange)[:8]), decoded.path
        if self._mapped:
            raise MagNetError(
                f"labels: '{path}' holds [{found}], which are mapped to no class and are not ignored; mend the labels "
                "or the mapping"
            )
        told = (
            f"labels: '{path}' holds [{found}], but the classes are 0..{self._num_classes - 1} ({IGNORE_INDEX} is "
            "ignored); mend the labels or the list of classes"
        )
        mapping = "" if decoded.values is None else mapping_of(np.flatnonzero(decoded.values), self._num_classes)
        raise MagNetError(f"{told}, or map the values: {mapping} {IN_YAML}" if mapping else told)


def mapping_of(values: Iterable[int], num_classes: int) -> str:
    """The mapping of values to classes, in their order, that label files seem to want; empty where none fits."""
    found = sorted(int(value) for value in values)
    if len(found) == num_classes + 1 and found[-1] == IGNORE_INDEX:
        found.pop()
    if len(found) != num_classes:
        return ""
    shown = [f"{value}: {number}" for number, value in enumerate(found)]
    return f"`mapping: {{{', '.join(shown[:8])}{', ...' if len(shown) > 8 else ''}}}`"


class ClassColours:
    """RGB label images, each class in exactly one colour.

    Args:
        classes: class id of each colour, at most 253; 255 = ignored.
        unmatched: colours of no class: "error" = ``check`` raises, "ignore" = 255, and ``check`` tells their counts;
            "binarize" = each channel is set to 0 below 128 and to 255 from there, and what then is no class's colour
            is an error.
    """

    def __init__(
        self, classes: Mapping[Colour, int], unmatched: Literal["error", "ignore", "binarize"] = "error"
    ) -> None:
        self.undeclared = False  # colours have no value that is always ignored
        self._classes = dict(classes)
        self._unmatched = unmatched

    @property
    def meaning(self) -> object:
        return self._classes, self._unmatched

    def read(self, path: str | os.PathLike[str]) -> Decoded:
        """Raises MagNetError: missing or corrupt file, or one that is not of 8-bit colours."""
        return self._decoded(_read(path, ("RGB", "RGBA", "P"), "an image of the classes' colours", "RGB"), path)

    def window(self, raster: LabelRaster, box: Box) -> Decoded:
        """Raises MagNetError: a damaged file, or one that is not of 8-bit colours."""
        return self._decoded(raster.read(box, colours=True), raster.path)

    def _decoded(self, samples: Samples, path: str | os.PathLike[str]) -> Decoded:
        colours, lossy, _, valid, _ = samples
        if self._unmatched == "binarize":
            colours = np.where(colours >= 128, np.uint8(255), np.uint8(0))
        packed = (colours[..., 0].astype(np.uint32) << 16) | (colours[..., 1].astype(np.uint32) << 8) | colours[..., 2]
        labels = _colour_table(tuple(self._classes.items()))[packed]
        if valid is not None:
            labels[~valid] = IGNORE_INDEX
        nowhere = labels == _NO_CLASS
        values, counts = np.unique(packed[nowhere], return_counts=True)
        labels[nowhere] = IGNORE_INDEX
        order = np.argsort(-counts, kind="stable")
        return Decoded(labels, {_colour_text(int(values[i])): int(counts[i]) for i in order}, path, None, lossy)

    def check(self, decoded: Decoded) -> str | None:
        strange, path = decoded.strange, decoded.path
        pixels = sum(strange.values())
        found = ", ".join(f"{colour} x {count}" for colour, count in list(strange.items())[:4])
        told = f"labels: '{path}' has {pixels} pixels of {len(strange)} colours that no class has ({found})"
        if self._unmatched == "ignore":
            return f"{told}; they are ignored"
        raise MagNetError(f"{told}; mend the labels, or set data.unmatched to ignore or binarize")


@functools.lru_cache(4)
def _colour_table(classes: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """Class id of each of the 2**24 colours."""
    table = np.full(1 << 24, _NO_CLASS, np.uint8)
    for (r, g, b), number in classes:
        table[r << 16 | g << 8 | b] = number
    return table


def _colour_text(packed: int) -> str:
    return f"({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"


def _read(path: str | os.PathLike[str], modes: tuple[str, ...], kind: str, convert: str = "") -> Samples:
    """All values, or colours with ``convert`` "RGB", of a file."""
    _check_there(path)
    with failures(path):
        stored = read_head(path)
    if stored and needs_raster(path, stored):
        return _read_raster(path, colours=bool(convert))
    if stored and (stored.pages > 1 or stored.larger):
        raise MagNetError(
            f"labels: expected one image, got a TIFF of several pages: '{path}'; save the one that is meant as a file "
            "of its own"
        )
    try:
        head = checked_head(path)
    except PixelsError as error:
        raise CorruptImageError(
            f"labels: expected {kind}, got {stored}: '{path}'; save the ids of the classes as an 8-bit PNG"
        ) from error
    if head and head.white_is_zero:
        raise MagNetError(
            f"labels: expected grey whose 0 is black, got a TIFF whose 0 is white: '{path}'; save the ids as PNG"
        )
    large = read_fitting_labels(path)
    if large is not None:
        if (large.ndim == 3) != (convert == "RGB"):
            got = "colours" if large.ndim == 3 else "grey"
            raise MagNetError(
                f"labels: expected {kind}, got {got}: '{path}'; past Pillow's size limit a palette is read as colours"
            )
        return Samples(large, lossy_format(path))
    try:
        with quiet(), open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.mode not in modes:
                raise MagNetError(f"labels: expected {kind}, got mode {image.mode}: '{path}'; {_fix(image)}")
            # Pillow turns a TIFF as it loads it, and forgets the tag
            turned = head.turned if head else 1
            step = _sample_step(image, path)
            mend_palette(image)
            with whole(image, path):
                values = unturned(np.array(image.convert(convert) if convert else image, dtype=np.uint8), turned)
            if head and head.deflated:
                as_stored = image.mode == "RGB" or not convert
                check_pieces(path, head.deflated, values if as_stored else unturned(np.asarray(image), turned))
            return Samples(values // step, lossy_format(path), _palette(image))
    except PermissionError as error:
        raise MagNetError(f"labels: '{path}' cannot be read ({error.strerror}); change its permissions") from error
    except (MagNetError, MemoryError):
        raise
    except Exception as error:  # decoders fail in ways of their own, and all of them mean a damaged file
        raise CorruptImageError(
            f"labels: expected a readable image, but '{path}' is corrupt or not an image ({error}); replace the file"
        ) from error


def _check_there(path: str | os.PathLike[str]) -> None:
    if not os.path.exists(path):
        raise MagNetError(f"labels: expected a file, but '{path}' does not exist; check labels/ and the split")
    if not os.path.isfile(path):  # to open a pipe would wait for ever
        raise CorruptImageError(f"labels: expected a file, but '{path}' is none; take it out of the split")


def _read_raster(path: str | os.PathLike[str], *, colours: bool) -> Samples:
    """All of a TIFF that Pillow does not read as it is meant; past Pillow's size limit as other label files are."""
    raster = open_label_raster(path, lossy_format(path))
    assert raster is not None  # it is a TIFF
    try:
        height, width = raster.size
        size = fitting_size(raster.size)
        if size == raster.size:
            return raster.read((0, 0, width, height), colours=colours)
        rows, columns = nearest_pixels(height, size[0]), nearest_pixels(width, size[1])
        values, valid = [], []
        for box in row_boxes(raster.raster):
            part = raster.read(box, colours=colours)
            picked = np.ix_(rows[(rows >= box[1]) & (rows < box[3])] - box[1], columns)
            values.append(part.values[picked])
            valid.append(np.ones(values[-1].shape[:2], bool) if part.valid is None else part.valid[picked])
        return part._replace(values=np.concatenate(values), valid=np.concatenate(valid))
    finally:
        raster.close()


def open_labels(path: str | os.PathLike[str]) -> LabelRaster | None:
    """A label file to be read by window; None: its format is decoded as a whole, as :class:`LabelCode` reads it.

    Raises:
        MagNetError: it is missing, or past Pillow's size limit and can be decoded by no part.
    """
    _check_there(path)
    raster = open_label_raster(path, lossy_format(path))
    if raster is None and is_large(path):
        raise MagNetError(
            f"labels: expected a TIFF, to read a part of labels past Pillow's size limit, got '{path}'; save it as a "
            "tiled TIFF, as with gdal_translate -of COG"
        )
    return raster


def count_windows(code: LabelCode, raster: LabelRaster, seen: ValidPixels | None = None) -> Tally:
    """What an opened label file holds, counted window by window.

    Args:
        code: of its values.
        raster: the file.
        seen: other pixels of its image count as ignored, where both have one size; None: none.

    Raises:
        CorruptImageError, MagNetError: as :meth:`LabelCode.window`.
    """
    classes = np.zeros(256, np.int64)
    values: np.ndarray | None = None
    strange: Counter[str] = Counter()
    for box in row_boxes(raster.raster):
        decoded = code.window(raster, box)
        if seen is None or seen.size != raster.size:
            classes += np.bincount(decoded.labels.ravel(), minlength=256)
        else:
            classes += seen.tally(decoded.labels, box)
        strange.update(decoded.strange)
        if decoded.values is not None:
            values = decoded.values if values is None else values + decoded.values
    none = np.empty((0, 0), np.uint8)
    return Tally(raster.size, classes, Decoded(none, dict(strange.most_common()), raster.path, values, decoded.lossy))


def _palette(image: Image.Image) -> np.ndarray | None:
    """(256, 3) uint8 RGB of a palette image; the entries that it lacks are of a colour, as no grey stands for them."""
    if image.mode != "P":
        return None
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return np.concatenate([colours, np.full((256 - len(colours), 3), (0, 0, 1), np.uint8)])


def _sample_step(image: Image.Image, path: str | os.PathLike[str]) -> int:
    """What Pillow multiplies samples of fewer than 8 bits by, to fill them; ask before it is loaded."""
    tiles: list[Any] = getattr(image, "tile", [])
    tile = tiles[0] if tiles else None
    raw = str(tile[3] if tile is None or isinstance(tile[3], str) else tile[3][0]) if tile else ""
    if image.format == "PPM" and tile and tile[0] != "raw":
        raise MagNetError(f"labels: expected samples of 8 bits, got those of a PGM of less: '{path}'; save them as PNG")
    return {"L;2": 85, "L;4": 17}.get(raw, 1) if image.mode == "L" else 1


def _fix(image: Image.Image) -> str:
    """What mends a label image of another mode."""
    if image.mode == "RGB" and image.format == "JPEG":
        return "if it is the image, the columns may be swapped: image<TAB>label; else save the ids as PNG"
    if image.mode in ("RGB", "RGBA", "LA"):
        return "save the class ids as one 8-bit channel (grey, or a palette), not as colours"
    if image.mode in ("L", "1"):
        return "save the classes' colours, or read ids with another data.format"
    return "save the class ids as 8-bit values"


def lossy_message(decoded: Decoded) -> str:
    """That a label file is of a lossy format, and what mends it."""
    return (
        f"labels: '{decoded.path}' is {decoded.lossy}, which changes ids at the edges: PNG is wanted; write the labels "
        "anew from their source, or, if every pixel is exact, set data.accept: [lossy]"
    )


def read_labels(path: str | os.PathLike[str], num_classes: int | None = None) -> np.ndarray:
    """Read a label image as (H, W) uint8: a class id in each pixel, 255 where it is to be ignored.

    Raises:
        MagNetError: missing or corrupt file, lossy compression, more than one channel or 8 bits, or ids outside
            ``num_classes``.
    """
    code = ClassIds(num_classes or 256)
    decoded = code.read(path)
    if decoded.lossy:
        raise MagNetError(lossy_message(decoded))
    if decoded.strange:
        code.check(decoded)
    return decoded.labels


def nearest_pixels(length: int, count: int) -> np.ndarray:
    """(count,) the pixels of ``length`` that hold the centres of so many equal parts."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-pixel resize of (H, W) labels to ``size`` (H, W), sampling at pixel centres."""
    if labels.shape == tuple(size):
        return labels
    rows, columns = (nearest_pixels(*both) for both in zip(labels.shape, size, strict=True))
    return np.ascontiguousarray(labels[rows[:, None], columns[None, :]])
