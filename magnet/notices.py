"""What is odd about a file, and may yet be meant: told once a folder, not once a file."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Notice", "gathered", "sum_up", "tell", "tell_again"]

_LOG = logging.getLogger("magnet")
_LOCK = threading.Lock()
_FILES: dict[tuple[str, str], set[str]] = {}  # by kind and folder
_TOLD: dict[tuple[str, str], int] = {}  # how many of them were summed up
_GATHERED: contextvars.ContextVar[list[Notice] | None] = contextvars.ContextVar("gathered", default=None)


class Notice(NamedTuple):
    """One thing to tell of one file: what files that have it in common ("use ..."), and what to do about it."""

    kind: str
    path: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"image: '{self.path}' {self.found}; {self.fix}"


def tell(kind: str, path: str | os.PathLike[str], found: str, fix: str) -> None:
    """Warn of the first file of a folder with this kind of notice; the others are counted, for :func:`sum_up`."""
    _tell(Notice(kind, os.fspath(path), found, fix))


def tell_again(notices: Iterable[Notice]) -> None:
    """:func:`tell` what was gathered."""
    for notice in notices:
        _tell(notice)


def _tell(notice: Notice) -> None:
    kept = _GATHERED.get()
    if kept is not None:
        kept.append(notice)
        return
    path = Path(notice.path)
    key = notice.kind, str(path.absolute().parent)
    with _LOCK:
        files = _FILES.setdefault(key, set())
        first = not files
        files.add(path.name)
    if first:
        _LOG.warning(f"{notice} (other files of this folder are counted, not named)")


@contextlib.contextmanager
def gathered() -> Iterator[list[Notice]]:
    """What is told inside, by this thread, is put into the list instead of being warned of."""
    notices: list[Notice] = []
    token = _GATHERED.set(notices)
    try:
        yield notices
    finally:
        _GATHERED.reset(token)


def sum_up() -> None:
    """Warn of how many files of each folder had each kind of notice, where it is more than the one named, and than was
    told before. Commands do that at their end.
    """
    with _LOCK:
        counts = [(key, len(files)) for key, files in _FILES.items() if len(files) > max(_TOLD.get(key, 0), 1)]
        _TOLD.update(counts)
    for (kind, folder), count in counts:
        _LOG.warning(f"image: {count} images of '{folder}' {kind}")
