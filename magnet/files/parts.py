"""Parts of one job, which write into one folder at the same time, maybe from several machines.

A folder has one writer at a time, and a job in parts counts as one: its parts share the lock of the folder, and each
locks a file of its own. So no two processes do the same part, and nobody else writes there. What they write beside
results they do not share: each has files of its own (``file_of``), since appending to one file from several machines
loses lines on network file systems.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from magnet.errors import MagNetError
from magnet.files.locks import folder_lock, holder, lock_descriptor, told_by

__all__ = ["Part", "file_of", "files_of", "part_lock"]

_WAIT = 2.0  # seconds for what others do in a moment: to tell of themselves, to look whether a file is locked


class Part(NamedTuple):
    """A part of a job.

    number, of: part ``number`` (from 1) of ``of``. plan: what all parts must have in common, as the hash of what is
    shared out among them: parts of different lists would leave inputs out, or do some twice.
    """

    number: int
    of: int
    plan: str = ""

    def __str__(self) -> str:
        return f"part-{self.number}-of-{self.of}"


def file_of(stem: str, part: Part | None = None) -> str:
    """The name of a file of JSON lines: that of a whole job, or of one part of it."""
    return f"{stem}.{part}.jsonl" if part else f"{stem}.jsonl"


def files_of(folder: Path, stem: str) -> list[Path]:
    """The files of that stem which are in a folder, that of the whole job first; links are not."""
    name = re.compile(rf"{re.escape(stem)}(\.part-\d+-of-\d+)?\.jsonl")
    found = [path for path in folder.iterdir() if name.fullmatch(path.name)]
    return sorted(
        (path for path in found if path.is_file() and not path.is_symlink()), key=lambda p: (p.stem != stem, p)
    )


@contextlib.contextmanager
def part_lock(folder: Path, part: Part, argument: str = "--out") -> Iterator[None]:
    """Keep all but the other parts of the same job from writing into ``folder``, which exists.

    Raises:
        MagNetError: another process does this part, or writes there and is no part of this job.
    """
    about = {"of": str(part.of), "plan": part.plan}
    with (
        folder_lock(folder, argument, shared=True, wait=_WAIT),
        folder_lock(folder, argument, name=f".magnet.{part}.lock", wait=_WAIT, about=about),
    ):
        # each looks for the others once it has its own lock: of two that differ at least one sees the other
        for path in sorted(folder.glob(".magnet.part-*.lock")):
            if path.name != f".magnet.{part}.lock":
                _check_other(folder, path, about)
        yield


def _check_other(folder: Path, path: Path, about: dict[str, str]) -> None:
    """Raise MagNetError if a living process holds the file and is no part of the same job."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return  # it has ended
        with lock_descriptor(descriptor, shared=True) as locked:
            if locked is not False:
                return  # what a killed one left, or there are no locks here
            told, who = told_by(descriptor), holder(descriptor)
        if told or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if any(told.get(key) != value for key, value in about.items()):
        raise MagNetError(
            f"--part: expected parts of one job, but '{folder}' is being written to by {who}, with other inputs or "
            "options or another number of parts; wait until it has ended, or choose another folder"
        )
