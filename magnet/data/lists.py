"""List files: a split as lines of names, or of images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import FilePair, LabelledFiles
from magnet.data.labels import ClassIds
from magnet.errors import MagNetError

__all__ = ["FileLists", "Line", "listed_pairs", "read_classes", "read_list", "read_text"]


class Line(NamedTuple):
    """A line of a list file: an image or a name, and a label file where the line has a second column."""

    first: str
    labels: str | None


def read_text(path: Path, fix: str) -> str:
    """A text file; raises MagNetError that ends in ``fix`` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MagNetError(f"data: cannot read '{path}' ({reason}); {fix}") from error


def read_list(path: Path) -> list[Line]:
    """Lines ``name`` or ``image<TAB>label`` of a list file; empty ones are left out.

    Raises:
        MagNetError: an unreadable or empty file, more than two columns, or a name listed twice.
    """
    lines: list[Line] = []
    seen: set[str] = set()
    for number, text in enumerate(read_text(path, "list one image a line").splitlines(), 1):
        if not text.strip():
            continue
        columns = [column.strip() for column in text.strip().split("\t")]
        if len(columns) > 2 or not all(columns):
            raise MagNetError(f"data: '{path}', line {number}: expected image<TAB>label, got '{text.strip()}'")
        if columns[0] in seen:
            raise MagNetError(f"data: '{path}', line {number}: '{columns[0]}' is listed twice; remove one")
        seen.add(columns[0])
        lines.append(Line(columns[0], columns[1] if len(columns) == 2 else None))
    if not lines:
        raise MagNetError(f"data: the list '{path}' is empty; list one image a line")
    return lines


def listed_pairs(root: Path, path: Path) -> tuple[list[FilePair], list[Path], list[Path]]:
    """Pairs of a list of lines ``image<TAB>label`` relative to ``root``, images without labels, and the reverse.

    Raises:
        MagNetError: an unreadable or empty list, or a line of another form.
    """
    pairs, without_labels, without_image = [], [], []
    for image, labels in read_list(path):
        if labels is None:
            raise MagNetError(f"data: '{path}': expected lines image<TAB>label, got '{image}'")
        files = root / image, root / labels
        if not files[0].is_file():
            without_image.append(files[0])
        elif not files[1].is_file():
            without_labels.append(files[0])
        else:
            pairs.append(FilePair(files[0].stem, files[0], (files[1],)))
    return pairs, without_labels, without_image


def read_classes(path: Path) -> list[str]:
    """Class names of a file of lines ``id name``; the line of id 255 is left out.

    Raises:
        MagNetError: an unreadable file, a line of another form, or ids with gaps.
    """
    names: dict[int, str] = {}
    for line in read_text(path, "list the classes, one 'id name' a line").splitlines():
        if not line.strip():
            continue
        number, _, name = line.strip().partition(" ")
        if not number.isdigit():
            raise MagNetError(f"data: '{path}': expected 'id name', got '{line.strip()}'")
        if int(number) != IGNORE_INDEX:
            names[int(number)] = name.strip() or number
    if not names or sorted(names) != list(range(len(names))):
        raise MagNetError(f"data: '{path}': expected ids 0, 1, 2, ... without gaps, got {sorted(names)}")
    return [names[i] for i in range(len(names))]


class FileLists(LabelledFiles):
    """Images and labels named by a list file, as the public MagNet release has them: ``image<TAB>label`` a line.

    Label files are 8-bit, pixel = class id, 255 = ignored.

    Args:
        root: folder that the lines are relative to; holds ``classes.txt`` (lines ``id name``) if no names are given.
        split: name of the split.
        file: the list.
        class_names: name of each class.

    Raises:
        MagNetError: an unreadable or empty list, missing files.
    """

    def __init__(
        self, root: Path, split: str, *, file: Path, class_names: list[str] | None = None, strict: bool = True
    ) -> None:
        names = class_names or read_classes(root / "classes.txt")
        pairs, without_labels, without_image = listed_pairs(root, file)
        super().__init__(
            split,
            file,
            names,
            ClassIds(len(names)),
            pairs,
            without_labels=without_labels,
            without_image=without_image,
            strict=strict,
        )
