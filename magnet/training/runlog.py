"""The log of a run: ``log.jsonl``, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import IO, Any

from magnet.files.atomic import atomic_path, errors_name
from magnet.files.reading import parse_json

__all__ = ["RunLog"]


class RunLog:
    """Appends lines, each flushed as it is written.

    Lines of training have the number of the step (from 0) and its learning rate "lr"; lines of validations the number
    of steps done, and scores. "seconds" counts from the start of the run, without the time between interruptions.

    Args:
        path: the file; None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = path.open("a", encoding="utf-8") if path else None
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def begin(self, stage: str, step: int, seconds: float | None = None) -> None:
        """A stage starts after ``step`` steps: lines of it that are about to be written again are taken out.

        Args:
            stage: "segmenter" or "refiner".
            step: optimiser steps that were done before.
            seconds: what the clock showed then; None: it goes on as it is.
        """
        if seconds is not None:
            self._start = time.perf_counter() - seconds
        if self._path is None or self._file is None:
            return
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _stays(line, stage, step)]
        if len(kept) < len(lines):
            self._file.close()
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self._file = self._path.open("a", encoding="utf-8")

    def write(self, **values: object) -> None:
        if self._file is not None and self._path is not None:
            with errors_name(self._path):
                self._file.write(json.dumps({**values, "seconds": round(self.seconds, 1)}) + "\n")
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # every line was flushed; what could not be has been told
                self._file.close()


def _stays(line: str, stage: str, step: int) -> bool:
    entry: Any = None
    with contextlib.suppress(ValueError):  # the last line of a process that was killed
        entry = parse_json(line)
    number = entry.get("step", -1) if isinstance(entry, dict) else None
    if not isinstance(number, (int, float)):
        return False
    done = number < step if "lr" in entry else number <= step
    return bool(entry.get("stage") != stage or done)
