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
_FILES: dict[tuple[str, str], set[str]] = {}  # by kind and folder, since they were last summed up
_SUMMED: set[tuple[str, str]] = set()
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
        first = not files and key not in _SUMMED
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
    """Warn of how many files of each folder had each kind of notice, where it was more than the one named.

    Commands do that at their end; files that come after it are counted for the next one.
    """
    with _LOCK:
        counts = []
        for (kind, folder), files in _FILES.items():
            later = (kind, folder) in _SUMMED
            if len(files) > (0 if later else 1):
                what = f"{len(files)} more image{'s'[: len(files) > 1]}" if later else f"{len(files)} images"
                counts.append((kind, folder, what))
                _SUMMED.add((kind, folder))
        for kind, folder, _ in counts:
            del _FILES[kind, folder]
    for kind, folder, count in counts:
        _LOG.warning(f"image: {count} of '{folder}' {kind}")
