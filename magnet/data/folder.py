"""The folder layout of this project."""

from __future__ import annotations

import os
from pathlib import Path

from magnet.data.labelled_files import FilePair, LabelledFiles, images_in
from magnet.data.labels import ClassIds
from magnet.data.lists import read_classes, read_text
from magnet.errors import MagNetError

__all__ = ["DataFolder"]


class DataFolder(LabelledFiles):
    """One split of a data folder.

    A data folder holds ``images/<stem>.jpg`` (or .png, .tif), ``labels/<stem>.png`` (8-bit, pixel = class id, 255 =
    ignored), ``classes.txt`` (lines ``id name``), and lists of stems: ``train.txt``, ``val.txt``, ``test.txt``.

    Args:
        path: the folder.
        split: "train", "val", "test", or any other list of stems in the folder.

    Raises:
        MagNetError: no such folder, list or class file; an empty split; an image or label file that is missing.
    """

    def __init__(self, path: str | os.PathLike[str], split: str, *, strict: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise MagNetError(
                f"data: expected a folder, but '{self.path}' does not exist; check data.root and data.folders"
            )
        for part in ("images", "labels"):
            if not (self.path / part).is_dir():
                raise MagNetError(
                    f"data: '{self.path}' has no {part}/ folder; expected images/, labels/, classes.txt and {split}.txt"
                )
        class_names = read_classes(self.path / "classes.txt")
        listed = read_text(
            self.path / f"{split}.txt", f"list the file stems of the split '{split}', one a line"
        ).splitlines()
        stems = [line.strip() for line in listed if line.strip()]
        if not stems:
            raise MagNetError(f"data: the split '{split}' of '{self.path}' is empty; list file stems in {split}.txt")
        by_stem = images_in(self.path / "images")
        pairs, without_labels, without_image = [], [], []
        for stem in stems:
            label_path = self.path / "labels" / f"{stem}.png"
            if stem not in by_stem:
                without_image.append(label_path)
            elif not label_path.is_file():
                without_labels.append(by_stem[stem])
            else:
                pairs.append(FilePair(stem, by_stem[stem], (label_path,)))
        if strict and without_image:
            raise MagNetError(
                f"data: {split}.txt of '{self.path}' lists '{without_image[0].stem}', which is not in images/"
            )
        if strict and without_labels:
            stem = without_labels[0].stem
            raise MagNetError(
                f"data: '{self.path / 'labels' / stem}.png' does not exist, but {split}.txt lists '{stem}'; add the "
                "labels"
            )
        super().__init__(
            split,
            self.path,
            class_names,
            ClassIds(len(class_names)),
            pairs,
            without_labels=without_labels,
            without_image=without_image,
            strict=strict,
        )

    def strays(self) -> list[Path]:
        """Images of the folder without labels, and labels without an image, in whatever split or none."""
        images, labels = images_in(self.path / "images"), images_in(self.path / "labels")
        return [images[s] for s in images if s not in labels] + [labels[s] for s in labels if s not in images]
