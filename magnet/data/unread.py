"""What lies where images and labels are looked for, and is not read: other formats, pipes, links to nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from magnet.data.labelled_files import image_files, is_hidden
from magnet.errors import MagNetError
from magnet.files.reading import check_file

__all__ = ["more", "refuse_no_file", "unread_faults", "unread_files"]


def unread_files(folder: Path) -> dict[str, Path]:
    """What :func:`image_files` leaves out of a folder, by stem."""
    read = {*image_files(folder)}
    return {path.stem: path for path in sorted(folder.iterdir()) if path not in read and not is_hidden(path)}


def refuse_no_file(path: Path) -> None:
    """Raise MagNetError where there is something at ``path`` that is no file; what is not there is told elsewhere."""
    if not os.path.lexists(path):
        return
    try:
        check_file(path, "data")
    except OSError:
        raise MagNetError(
            f"data: expected a file, but '{path}' is a link to what is not there; put the file itself there"
        ) from None


def unread_faults(wanted: Iterable[str], folder: Path, found: Collection[str], part: str) -> list[str]:
    """Messages of what is there in place of the files that are wanted.

    Args:
        wanted: stems.
        folder: where they are looked for.
        found: stems of the images that were found there.
        part: "images" or "labels".
    """
    missing = [stem for stem in wanted if stem not in found]
    unread = unread_files(folder) if missing else {}
    faults, others = [], []
    for path in (unread[stem] for stem in missing if stem in unread):
        try:
            refuse_no_file(path)
            others.append(path)
        except MagNetError as error:
            faults.append(str(error))
    faults = [f"{faults[0]} ({len(faults)} of these)"] if faults[1:] else faults
    if others:
        path = others[0]
        what = path.suffix or "a file without a suffix"
        faults.append(
            f"data: '{path}'{more(others)}: {what} is not read; save the labels as '{path.stem}.png', 8-bit ids"
            if part == "labels"
            else f"data: '{path}'{more(others)}: {what} is not read; save the images as PNG or JPEG"
        )
    return faults


def more(items: Collection[object]) -> str:
    """How many besides the one that is named."""
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
