"""What of a long job is done already: a line a step, which outlives the process that wrote it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from magnet.files.atomic import errors_name

__all__ = ["Journal"]


class Journal:
    """The steps of one job that are done, in a file of JSON lines; the first line says which job it is.

    Args:
        path: the file. What is there of another job, or of the same one begun anew, is dropped.
        job: what decides the results; a journal of exactly this job is gone on with.

    Attributes:
        done: numbers of the steps that were done before it was opened.
    """

    def __init__(self, path: str | os.PathLike[str], job: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._head = json.dumps({"job": job}, sort_keys=True)
        self.done = _read_done(self.path, self._head)
        with errors_name(self.path):
            self._file = self.path.open("a", encoding="ascii")
        if not self.done:
            self.restart()
        else:
            self._write("")  # the last line of a process that was killed may have no end

    def restart(self) -> None:
        """Forget all that was done."""
        self.done = set()
        with self._lock, errors_name(self.path):
            self._file.truncate(0)
            self._write(self._head)

    def add(self, number: int) -> None:
        """Note that a step is done, all that belongs to it being on disc."""
        with self._lock, errors_name(self.path):
            self._write(json.dumps({"done": number}))

    def _write(self, *lines: str) -> None:
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _read_done(path: Path, head: str) -> set[int]:
    """The steps that a journal of this job has; none where there is none, or one of another job."""
    if not path.is_file():
        return set()
    with errors_name(path):
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    if not lines or lines[0] != head:
        return set()
    done = set()
    for line in lines[1:]:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line of a process that was killed
            done.add(int(json.loads(line)["done"]))
    return done
