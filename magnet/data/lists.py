"""List files: a split as lines of names, or of images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from magnet.data.dataset import IGNORE_INDEX
from magnet.data.labelled_files import FilePair, LabelledFiles
from magnet.data.labels import IN_YAML, ClassIds
from magnet.data.unread import refuse_no_file
from magnet.errors import MagNetError, printable
from magnet.files import reading

__all__ = ["Classes", "FileLists", "Line", "listed_pairs", "read_classes", "read_list", "read_text"]

_MARKS = {",": "a comma", ";": "a semicolon", " ": "a space"}
# parts of what a line of id 255 may be called: any other name is that of a class, which 255 cannot be
_IGNORED = ("ignor", "void", "label", "unknown", "undefined", "unclass", "invalid", "data", "border", "boundary", "255")


class Line(NamedTuple):
    """A line of a list file: an image or a name, and a label file where the line has a second column."""

    first: str
    labels: str | None


def read_text(path: Path, fix: str) -> str:
    """A text file; raises MagNetError that ends in ``fix`` where it cannot be read."""
    try:
        return reading.read_text(path, "data", "a text file")
    except UnicodeDecodeError as error:
        raise MagNetError(f"data: '{path}' is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
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
            raise MagNetError(
                f"data: '{path}', line {number}: expected image<TAB>label, got '{printable(text.strip())}'"
            )
        if columns[0] in seen:
            raise MagNetError(f"data: '{path}', line {number}: '{printable(columns[0])}' is listed twice; remove one")
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
            mark = next((name for sign, name in _MARKS.items() if sign in image), "")
            fix = f"; the columns are separated by a TAB, not by {mark}" if mark else ""
            raise MagNetError(f"data: '{path}': expected lines image<TAB>label, got '{printable(image)}'{fix}")
        if image == labels:
            raise MagNetError(
                f"data: '{path}': '{printable(image)}' is listed as its own label; list lines image<TAB>label"
            )
        files = root / image, root / labels
        for file in files:
            refuse_no_file(file)
        if not files[0].is_file():
            without_image.append(files[0])
        elif not files[1].is_file():
            without_labels.append(files[0])
        else:
            pairs.append(FilePair(files[0].stem, files[0], (files[1],)))
    return pairs, without_labels, without_image


class Classes(NamedTuple):
    """Names of the classes by id, and whether the file has a line for 255, which declares it ignored."""

    names: list[str]
    ignored: bool


def read_classes(path: Path) -> Classes:
    """Classes of a file of lines ``id name``; the line of id 255 names what is ignored.

    Raises:
        MagNetError: an unreadable file, a line of another form, an id twice, ids with gaps, 255 as a class.
    """
    names: dict[int, str] = {}
    for line in read_text(path, "list the classes, one 'id name' a line").splitlines():
        if not line.strip():
            continue
        number, name = [*line.split(maxsplit=1), ""][:2]
        if not (number.isascii() and number.isdigit()):
            raise MagNetError(
                f"data: '{path}': expected 'id name', got '{printable(line.strip())}'; begin each line with the id "
                "and a space: 0 background"
            )
        if int(number) in names:
            raise MagNetError(f"data: '{path}': the id {int(number)} is listed twice; give each class an id of its own")
        names[int(number)] = name.strip()
    ignored = names.pop(IGNORE_INDEX, None)
    if ignored and not any(word in ignored.lower() for word in _IGNORED):
        raise MagNetError(
            f"data: '{path}': 255 is always ignored, so it cannot be the class '{ignored}'; give the class an id of "
            f"its own, {len(names)}, and map the value 255 to it {IN_YAML}: `mapping: {{..., 255: {len(names)}}}`; if "
            "it is to be ignored, name it so: 255 ignore"
        )
    if not names or sorted(names) != list(range(len(names))):
        raise MagNetError(
            f"data: '{path}': expected ids 0, 1, 2, ... without gaps, got {sorted(names)}; number the classes from 0, "
            f"and where label files hold other values, map them {IN_YAML}"
        )
    return Classes([names[i] or str(i) for i in range(len(names))], ignored is not None)


class FileLists(LabelledFiles):
    """Images and labels named by a list file, as the public MagNet release has them: ``image<TAB>label`` a line.

    Label files are 8-bit, pixel = class id, 255 = ignored.

    Args:
        root: folder that the lines are relative to; holds ``classes.txt`` (lines ``id name``) if no names are given.
        split: name of the split.
        file: the list.
        class_names: name of each class.
        ignored: whether ``class_names`` come from a file that declares 255 ignored.

    Raises:
        MagNetError: an unreadable or empty list, missing files.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        file: Path,
        class_names: list[str] | None = None,
        ignored: bool = False,
        strict: bool = True,
    ) -> None:
        names, ignored = (class_names, ignored) if class_names else read_classes(root / "classes.txt")
        pairs, without_labels, without_image = listed_pairs(root, file)
        super().__init__(
            split,
            file,
            names,
            ClassIds(len(names), ignored=[IGNORE_INDEX] if ignored else []),
            pairs,
            without_labels=without_labels,
            without_image=without_image,
            strict=strict,
        )
