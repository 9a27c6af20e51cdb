"""Images and their label files: what every format on disk comes down to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from magnet.data.dataset import Colour
from magnet.data.labels import Decoded, LabelCode
from magnet.data.sizes import image_head, image_size
from magnet.data.turns import turn_hint, turn_note
from magnet.errors import MagNetError
from magnet.images import IMAGE_SUFFIXES
from magnet.windows import read_fitting_turned

__all__ = ["FilePair", "LabelledFiles", "images_in", "pair_by_name"]

_LOG = logging.getLogger("magnet")


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
        strict: False keeps missing files for ``magnet data check`` to report.

    Raises:
        MagNetError: an empty split, or, if ``strict``, an image or a label file that is missing.
    """

    varies = False
    exif: Literal["apply", "ignore"] = "apply"  # see ``DataConfig.exif``

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
        strict: bool = True,
    ) -> None:
        self.split, self.place = split, place
        self.class_names = list(class_names)
        self.colours = list(colours) if colours is not None else None
        self.pairs = list(pairs)
        self.without_labels, self.without_image = list(without_labels), list(without_image)
        self._code = code
        self._told: set[str] = set()
        if strict:
            self._require_all()
        if not (self.pairs or self.without_labels or self.without_image):
            raise MagNetError(
                f"data: the split '{split}' of '{place}' is empty; add labelled images, or choose another"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index].name

    def load(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8, 255 = ignored.

        Args:
            index: number of the image.
            rng: draws among the labels of an image, where the data set ``varies``.

        Raises:
            MagNetError: either file is corrupt, their sizes differ, or labels are of no class; names the file.
        """
        image, turned = read_fitting_turned(self.pairs[index].image, upright=self.exif == "apply")
        decoded = self.read_labels(index, rng)
        self._tell(self.check_values(decoded))
        labels = decoded.labels
        if image.shape[:2] != labels.shape:
            raise MagNetError(self.size_mismatch(index, image.shape[:2], labels.shape))
        self._tell_turn(index, turned, labels.shape)
        return image, labels

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image by the head of its files, which is read in a moment.

        Raises:
            MagNetError: a head cannot be read, or the sizes of image and labels differ.
        """
        (height, width), turned = image_head(self.pairs[index].image)
        image = (width, height) if turned >= 5 and self.exif == "apply" else (height, width)
        labels = image_size(self.label_path(index), upright=False)
        if image != labels:
            raise MagNetError(self.size_mismatch(index, image, labels))
        self._tell_turn(index, turned, labels)
        return image

    def read_labels(self, index: int, rng: np.random.Generator | None = None) -> Decoded:
        """Labels of an image, and the values in them that stand for no class, without complaint about these."""
        return self._code.read(self.label_path(index))

    def check_values(self, decoded: Decoded) -> str | None:
        """What to tell of values that stand for no class; raises MagNetError where they are not allowed."""
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

    def _tell(self, message: str | None) -> None:
        if message and message not in self._told:
            self._told.add(message)
            _LOG.warning(message)

    def _require_all(self) -> None:
        for missing, told, fix in (
            (self.without_image, "labels without their image", "images"),
            (self.without_labels, "images without their labels", "labels"),
        ):
            if missing:
                raise MagNetError(
                    f"data: the split '{self.split}' of '{self.place}' has {len(missing)} {told}, the first "
                    f"'{missing[0]}'; add the {fix}, or take them out of the split"
                )


def images_in(folder: Path, suffix: str = "") -> dict[str, Path]:
    """Image files of a folder by stem, sorted; with ``suffix`` only those whose stem ends so, by what precedes it.

    Raises:
        MagNetError: no such folder, or two images of one stem.
    """
    if not folder.is_dir():
        raise MagNetError(f"data: expected a folder, but '{folder}' does not exist; check data.root")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.stem.endswith(suffix) or path.name.startswith("."):
            continue
        stem = path.stem.removesuffix(suffix)
        if stem in found:
            raise MagNetError(f"data: '{found[stem]}' and '{path}' have one name; remove one of them")
        found[stem] = path
    return found


def pair_by_name(images: dict[str, Path], labels: dict[str, Path]) -> tuple[list[FilePair], list[Path], list[Path]]:
    """Pairs of images and labels of one name, images without labels, and labels without an image."""
    pairs = [FilePair(name, images[name], (labels[name],)) for name in images if name in labels]
    without_labels = [images[name] for name in images if name not in labels]
    without_image = [labels[name] for name in labels if name not in images]
    return pairs, without_labels, without_image
