"""Images and their label files: what every format on disk comes down to."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from magnet.bounds import Size
from magnet.data.dataset import IGNORE_INDEX, Colour
from magnet.data.extent import is_ground
from magnet.data.label_raster import LabelRaster, is_larger
from magnet.data.labelled_raster import LabelledRaster
from magnet.data.labels import Decoded, LabelCode, Tally, ValidPixels, count_windows, lossy_message, open_labels
from magnet.data.names import plain_name
from magnet.data.pixels import pixels_head
from magnet.data.places import check_places
from magnet.data.sizes import image_size
from magnet.data.turns import turn_hint, turn_note
from magnet.errors import MagNetError
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.pictures import PictureRaster
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.read_input import InputImage, open_input, open_turned
from magnet.images.rasters.validity import read_with_validity
from magnet.images.rasters.where import has_place
from magnet.images.read import IMAGE_SUFFIXES
from magnet.notices import tell

__all__ = [
    "FilePair",
    "LabelledFiles",
    "holds",
    "image_files",
    "images_in",
    "is_hidden",
    "named_otherwise",
    "pair_by_name",
]

_LOG = logging.getLogger("magnet")
_SHOWN = 6  # names in a message
_WHOLE = (4096, 4096)  # (H, W) up to which ground is read as a whole where all of it is looked at


class FilePair(NamedTuple):
    """One labelled image: its name, its file, and its label files (several where several people annotated it)."""

    name: str
    image: Path
    labels: tuple[Path, ...]


class LabelledFiles:
    """One split of a data set on disk. Nothing is opened before ``load``.

    Args:
        split: name of the split.
        place: folder or file to name in messages.
        class_names: name of each class.
        code: how label files say which class a pixel has.
        pairs: the images that have labels.
        colours: official RGB of each class.
        without_labels: images whose label file is missing.
        without_image: label files, or listed names, that have no image.
        faults: messages of what else is wrong with the files' names.
        strict: False keeps missing files for ``magnet data check`` to report.

    Raises:
        MagNetError: an empty split, fewer than two classes, two of one name, or, if ``strict``, an image or a label
            file that is missing.
    """

    varies = False
    exif: Literal["apply", "ignore"] = "apply"  # see ``DataConfig.exif``
    inputs = InputSettings()  # how the networks see the images, see ``DataConfig``
    no_labels = ""  # why a split may have no labelled pixel, where that is known
    accept: Collection[str] = ()  # what is declared to be meant, see ``DataConfig.accept``

    def __init__(
        self,
        split: str,
        place: Path,
        class_names: Sequence[str],
        code: LabelCode,
        pairs: Iterable[FilePair],
        *,
        colours: Sequence[Colour] | None = None,
        without_labels: Iterable[Path] = (),
        without_image: Iterable[Path] = (),
        faults: Iterable[str] = (),
        strict: bool = True,
    ) -> None:
        self.split, self.place = split, place
        self.class_names = list(class_names)
        self.colours = list(colours) if colours is not None else None
        self.pairs = list(pairs)
        self.without_labels, self.without_image = list(without_labels), list(without_image)
        self.faults = list(faults)
        self._code = code
        self._told: set[str] = set()
        self._placed: set[str] = set()  # images whose place was compared
        _check_names(place, self.class_names)
        if strict:
            self._require_all()
        if not (self.pairs or self.without_labels or self.without_image or self.faults):
            raise MagNetError(
                f"data: the split '{split}' of '{place}' is empty; add labelled images, or choose another"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Name of an image, as text that every file takes: bytes that are not UTF-8 are written as ``\\xff``."""
        return self.pairs[index].name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def load(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8, 255 = ignored.

        Pixels in which the image holds no value are ignored, as in rasters that are read by window. By other ``inputs``
        the image is (H, W, channels), uint8 or float32 in [0, 1].

        Args:
            index: number of the image.
            rng: draws among the labels of an image, where the data set ``varies``.

        Raises:
            MagNetError: either file is corrupt, their sizes differ, labels are of no class, or the image has other
                bands or values than ``inputs`` say; names the file.
        """
        image = self.read_image(index)
        decoded = self.read_labels(index, rng)
        self._tell(self.check_values(decoded))
        labels = decoded.labels
        if image.pixels.shape[:2] != labels.shape:
            raise MagNetError(self.size_mismatch(index, image.pixels.shape[:2], labels.shape))
        self._tell_turn(index, image.turned, labels.shape)
        self.check_places(index)
        if image.valid is not None:
            labels = np.where(image.valid, labels, np.uint8(IGNORE_INDEX))
        return image.pixels, labels

    def read_image(self, index: int) -> InputImage:
        """An image as a whole, and where it holds a value (None: everywhere); errors as of :meth:`load`."""
        return read_with_validity(self.pairs[index].image, self.inputs, upright=self.exif == "apply")

    def is_ground(self, index: int, scale: Size, resolution: str | None = None) -> bool:
        """Whether an image is seen field by field; see ``DataConfig.extent``.

        Args:
            index: number of the image.
            scale: (H, W) of the last scale.
            resolution: of its pixels, where the data set has none of its own.

        Raises:
            MagNetError: it may be, and cannot be opened.
        """
        return is_ground(self.pairs[index].image, self.inputs.extent, scale, self.inputs.resolution or resolution)

    def open(self, index: int, rng: np.random.Generator | None = None) -> LabelledRaster:
        """An image and its labels, to be read by window; labels of PNG and other pictures are read whole.

        Args:
            index: number of the image.
            rng: as of :meth:`load`.

        Raises:
            MagNetError: either file is damaged, their sizes or places differ, or bands or values have no known meaning;
                names the file.
        """
        with contextlib.ExitStack() as stack:
            raster = stack.enter_context(self.open_image(index))
            labels = open_labels(self.label_path(index)) if len(self.pairs[index].labels) == 1 else None
            if labels is not None:
                stack.callback(labels.close)
                size: tuple[int, ...] = labels.size
                if raster.size == size:
                    check_places(raster, labels.raster)
                found: LabelRaster | np.ndarray = labels
            else:
                decoded = self.read_labels(index, rng)
                self._tell(self.check_values(decoded))
                found, size = decoded.labels, decoded.labels.shape
                if raster.size == size:
                    self.check_places(index)
            if raster.size != size:
                raise MagNetError(self.size_mismatch(index, raster.size, size))
            if isinstance(raster, PictureRaster):
                if raster.large:
                    raise MagNetError(
                        f"data: expected a TIFF, to read a part of an image past Pillow's size limit, got "
                        f"'{raster.name}'; save it as a tiled TIFF, as with gdal_translate -of COG"
                    )
                self._tell_turn(index, raster.turned, size)
            opened = LabelledRaster(raster, self.inputs.of(raster), found, self._code, self._check_part)
            stack.pop_all()
        return opened

    def open_image(self, index: int) -> Raster:
        """An image, to be read by window; turned as :meth:`load` turns it."""
        path, upright = self.pairs[index].image, self.exif == "apply"
        return open_turned(path, upright=upright) if self.inputs.plain else open_input(path, upright=upright)[0]

    def _check_part(self, decoded: Decoded) -> None:
        """As ``check_values`` of a part of a file, told once a file."""
        message = self.check_values(decoded)
        if message:
            self._tell(message, str(decoded.path))

    def check_places(self, index: int) -> None:
        """Compare where an image and its labels lie, once; see :func:`magnet.data.places.check_places`.

        Raises:
            MagNetError: they lie elsewhere.
        """
        image, labels = self.pairs[index].image, self.label_path(index)
        if f"{image}" in self._placed:
            return
        if has_place(image) and has_place(labels):
            try:
                with open_raster(image) as one, open_raster(labels) as other:
                    check_places(one, other)
            except MagNetError as error:
                if not isinstance(error.__cause__, ImportError):
                    raise
                found = "says where it lies, as its labels do, but without rasterio the two are not compared"
                tell("have a place that is not compared with that of their labels", image, found, "install rasterio")
        self._placed.add(f"{image}")

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image by the head of its files, which is read in a moment.

        Raises:
            MagNetError: a head cannot be read, or the sizes of image and labels differ.
        """
        (height, width), turned = pixels_head(self.pairs[index].image, self.inputs)
        image = (width, height) if turned >= 5 and self.exif == "apply" else (height, width)
        labels = image_size(self.label_path(index), upright=False)
        if image != labels:
            raise MagNetError(self.size_mismatch(index, image, labels))
        self._tell_turn(index, turned, labels)
        return image

    def read_labels(self, index: int, rng: np.random.Generator | None = None) -> Decoded:
        """Labels of an image, and the values in them that stand for no class, without complaint about these."""
        return self._code.read(self.label_path(index))

    def count_labels(self, index: int, seen: ValidPixels | None = None) -> Tally:
        """What the labels of an image hold, as :meth:`read_labels` without the labels; of a large raster by window.

        Args:
            index: number of the image.
            seen: where the image holds a value: other pixels count as ignored, if labels have its size. None:
                everywhere.
        """
        path, labels = self.label_path(index), None
        if len(self.pairs[index].labels) == 1 and path.is_file() and is_larger(path, _WHOLE):
            labels = open_labels(path)
        if labels is None:
            return Tally.of(self.read_labels(index), seen)
        try:
            return count_windows(self._code, labels, seen)
        finally:
            labels.close()

    def by_parts(self, index: int) -> bool:
        """Whether an image is ground too large to be looked at as a whole."""
        return is_ground(self.pairs[index].image, self.inputs.extent, _WHOLE)

    @property
    def undeclared(self) -> bool:
        """Whether 255 is ignored only because it always is: nothing that describes the data says so."""
        return self._code.undeclared and "ignored" not in self.accept

    @property
    def mapping(self) -> dict[int, int] | None:
        """Class id of each value of label files; None: values are class ids, or colours stand for classes."""
        return getattr(self._code, "mapping", None)

    @property
    def meaning(self) -> object:
        """All that decides what label files mean, to be compared."""
        return self._code.meaning

    def check_values(self, decoded: Decoded) -> str | None:
        """What to tell of values that stand for no class; raises MagNetError where they are not allowed, and where
        lossy compression may have changed them."""
        if decoded.lossy and "lossy" not in self.accept:
            raise MagNetError(lossy_message(decoded))
        return self._code.check(decoded) if decoded.strange else None

    def unreadable_labels(self, index: int) -> list[str]:
        """What is wrong with each label file of an image that cannot be read."""
        wrong = []
        for path in self.pairs[index].labels:
            try:
                self._code.read(path)
            except MagNetError as error:
                wrong.append(str(error))
        return wrong

    def size_mismatch(self, index: int, image: tuple[int, ...], labels: tuple[int, ...]) -> str:
        """The message that an image's (H, W) and its labels' (H, W) differ."""
        return (
            f"data: '{self.pairs[index].image}' is {image[0]}x{image[1]} (HxW), but its labels "
            f"'{self.label_path(index)}' are {labels[0]}x{labels[1]}; they must be of one size"
            f"{turn_hint(self.pairs[index].image, labels, self.exif)}"
        )

    def label_path(self, index: int) -> Path:
        """The label file of an image, the first where it has several."""
        return self.pairs[index].labels[0]

    def keep(self, indices: Iterable[int]) -> None:
        """Leave only some images in the data set."""
        self.pairs = [self.pairs[index] for index in indices]

    def _tell_turn(self, index: int, turned: int, size: tuple[int, ...]) -> None:
        """Warn of the first image whose labels fit it whether it is turned or not."""
        if turned == 1 or "turn" in self._told:
            return
        message, either = turn_note(self.pairs[index].image, turned, size, self.exif)
        if either:
            self._told.add("turn")
            _LOG.warning(f"data: {message} (others of the split '{self.split}' are not named; magnet data check does)")

    def _tell(self, message: str | None, once: str = "") -> None:
        """Warn of a message, or of the first that concerns ``once``."""
        if message and (once or message) not in self._told:
            self._told.add(once or message)
            _LOG.warning(message)

    def _require_all(self) -> None:
        if self.faults:
            more = f" (and {len(self.faults) - 1} more faults; magnet data check lists them)" if self.faults[1:] else ""
            raise MagNetError(self.faults[0] + more)
        for missing, told, fix in (
            (self.without_image, "labels without their image", "images"),
            (self.without_labels, "images without their labels", "labels"),
        ):
            if missing:
                raise MagNetError(
                    f"data: the split '{self.split}' of '{self.place}' has {len(missing)} {told}, the first "
                    f"'{missing[0]}'{self.none_fits()}; add the {fix}, or take them out of the split"
                )

    def none_fits(self) -> str:
        """What to look at where no image has labels at all: then it is names or paths, not single files."""
        if self.pairs or not (self.without_labels and self.without_image):
            return ""
        names = f"'{self.without_labels[0].name}' and '{self.without_image[0].name}'"
        return f", and no pair at all: image and labels have one name up to the suffix, not {names}"


def _check_names(place: Path, names: Sequence[str]) -> None:
    if len(names) < 2:
        raise MagNetError(
            f"data: '{place}' has {len(names)} class ({', '.join(names)}), which leaves nothing to tell apart; name "
            f"what surrounds it, too: 0 background, 1 {names[0] if names else 'thing'}"
        )
    plain = [plain_name(name) for name in names]
    for number, name in enumerate(plain):
        first = plain.index(name)
        if first != number:
            told = "" if names[first] == names[number] else f" (there as '{names[number]}', which makes no difference)"
            raise MagNetError(
                f"data: '{place}' has the class name '{names[first]}' twice, for {first} and {number}{told}; give each "
                "class a name of its own"
            )


def images_in(folder: Path, suffix: str = "") -> dict[str, Path]:
    """Image files of a folder by stem, sorted; with ``suffix`` only those whose stem ends so, by what precedes it.

    Raises:
        MagNetError: no such folder, or two images of one stem.
    """
    if not folder.is_dir():
        raise MagNetError(f"data: expected a folder, but '{folder}' does not exist; check data.root")
    found: dict[str, Path] = {}
    for path in image_files(folder):
        if not path.stem.endswith(suffix):
            continue
        stem = path.stem.removesuffix(suffix)
        if stem in found:
            raise MagNetError(f"data: '{found[stem]}' and '{path}' have one name; remove one of them")
        found[stem] = path
    refuse_nested(folder, found)
    return found


def refuse_nested(folder: Path, found: Collection[object]) -> None:
    """Raise MagNetError where nothing was found in a folder because its images are in folders of it."""
    nested = [] if found else [p for p in folder.iterdir() if p.is_dir() and image_files(p)]
    if nested:
        raise MagNetError(
            f"data: '{folder}' holds its images in folders ({holds(folder, nested)}); put them directly into it, or "
            "list them as image<TAB>label (data.format list)"
        )


def image_files(folder: Path) -> list[Path]:
    """Files of a folder that are images by their suffix, sorted; hidden ones are left out."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path) and path.is_file()
    ]


def holds(folder: Path, paths: Iterable[Path] | None = None) -> str:
    """What a folder holds, for messages: its folders, then its files, a few of them."""
    inside = [p for p in (folder.iterdir() if paths is None else paths) if not is_hidden(p)]
    names = sorted(f"{p.name}/" for p in inside if p.is_dir()) + sorted(p.name for p in inside if not p.is_dir())
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "") or "nothing"


def named_otherwise(stem: str, labels: Mapping[str, Path]) -> Path | None:
    """A label file that seems to be that of an image without one: its name holds that of the image."""
    return next((labels[name] for name in labels if stem in name and stem != name), None)


def is_hidden(path: Path) -> bool:
    """Whether a file is no data: macOS leaves ``._x.png`` beside ``x.png`` on other systems' disks."""
    return path.name.startswith(".")


def pair_by_name(images: dict[str, Path], labels: dict[str, Path]) -> tuple[list[FilePair], list[Path], list[Path]]:
    """Pairs of images and labels of one name, images without labels, and labels without an image."""
    pairs = [FilePair(name, images[name], (labels[name],)) for name in images if name in labels]
    without_labels = [images[name] for name in images if name not in labels]
    without_image = [labels[name] for name in labels if name not in images]
    return pairs, without_labels, without_image
