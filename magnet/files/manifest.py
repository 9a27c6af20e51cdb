"""Which inputs of a job are done: ``predictions.jsonl`` in the folder of its results, a line an input.

It rests on the record of :mod:`magnet.files.outputs` and is not the same file, since the two say different things. The
record has a line a *file*, before the file comes to its place: killed at any moment, what is there is known as ours.
The manifest has a line an *input*, once all its results are in place, with what the input was like. Whether a result is
still the one of this job is asked of the record alone: a line whose results were edited, removed or made anew with
other options counts for nothing, and a lost manifest costs time and nothing else.

A file of that name is ours where each of its lines is one of a manifest. The record cannot tell: it knows files by size
and time, which change with each line, and a kill between the two would make the manifest somebody else's.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path, errors_name
from magnet.files.outputs import Outputs
from magnet.files.parts import Part, file_of, files_of
from magnet.files.reading import check_path

__all__ = ["MANIFEST", "Manifest", "read_manifests"]

_STEM = "predictions"
MANIFEST = file_of(_STEM)
_KEYS = {"input": str, "size": int, "time": float, "job": str, "outputs": list, "seconds": float, "finished": str}
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def read_manifests(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """What is done in a folder of results, by whichever part of a job: this merges parts.

    Returns:
        Of each input, by its name relative to the root that was given, the newest line of all manifests: ``input``,
        ``size`` in bytes and ``time`` (of modification, seconds since 1970) of the input, ``job`` (a hash of model and
        options), ``outputs`` (relative to the folder), ``seconds`` it took, ``finished`` (UTC).

    Raises:
        OSError: a manifest cannot be read.
        TypeError: ``folder`` is no path.
    """
    lines = [line for path in files_of(check_path("folder", folder), _STEM) for line in _read(path)[0]]
    return {line["input"]: line for line in sorted(lines, key=lambda line: str(line["finished"]))}


class Manifest:
    """The manifest of a job, or of a part of one, in the folder of ``outputs``, which is entered.

    Args:
        outputs: the folder; says which results are this job's.
        job: a hash of model and options: other ones are another job.
        part: the part of the job, whose manifest this is; those of the others are read.
        overwrite: replace a file of that name which is no manifest.

    Raises:
        MagNetError: a file of that name is no manifest.
    """

    def __init__(self, outputs: Outputs, job: str, part: Part | None = None, *, overwrite: bool = False) -> None:
        self.path = outputs.folder / file_of(_STEM, part)
        self._outputs, self._job = outputs, job
        taken = os.path.lexists(self.path)
        ordinary = self.path.is_file() and not self.path.is_symlink()
        ours = _read(self.path)[2] if ordinary else not taken
        if not ours and (self.path.is_dir() or not overwrite):
            raise MagNetError(
                f"--out: expected to write down in '{self.path}' which inputs are done, but something else is there "
                "already; choose another folder, or give --overwrite to replace what is there"
            )
        self._ours = ours
        self._lines = read_manifests(outputs.folder)

    def done(self, name: str, state: Mapping[str, Any] | None, source: str) -> list[Path] | None:
        """The results of an input that was done in this job and has not changed; None: it is to be done.

        Args:
            name: of the input, relative to its root.
            state: what the input is like now: "size", "time", ...; None: nobody can tell whether it is the same.
            source: what the record has as source of the results.
        """
        line = self._lines.get(name)
        if line is None or state is None or line["job"] != self._job:
            return None
        if any(line.get(key) != value for key, value in state.items()):
            return None
        results = [self._outputs.folder / str(one) for one in line["outputs"]]
        return results if results and all(self._outputs.holds(one, source) for one in results) else None

    def tidy(self) -> None:
        """Keep the newest line of each input, before the first one is added and after the last.

        A line that is out of date stays until its input was done again: a run with other options that is broken off, or
        fails, leaves the others as they are. What is left of a line of a killed process is dropped.
        """
        if not os.path.lexists(self.path):
            return
        lines, whole, _ = _read(self.path) if self._ours else ([], False, False)
        kept = {line["input"]: line for line in lines}
        if not whole or len(kept) < len(lines):
            with atomic_path(self.path) as temporary:
                temporary.write_text("".join(map(_text, kept.values())), encoding="ascii")
        self._ours = True

    def add(self, name: str, state: Mapping[str, Any], outputs: Sequence[Path], seconds: float) -> None:
        """Note that an input is done, its results being in place."""
        line = {
            "input": name,
            **state,
            "job": self._job,
            "outputs": [one.relative_to(self._outputs.folder).as_posix() for one in outputs],
            "seconds": round(seconds, 3),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
        with errors_name(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_text(line).encode("ascii"))
        self._lines[name] = line


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line) + "\n"


def _read(path: Path) -> tuple[list[dict[str, Any]], bool, bool]:
    """The lines of a manifest; whether the last one is whole; whether it is a manifest at all."""
    with errors_name(path):
        text = path.read_text(encoding="ascii", errors="replace")
    *ended, rest = text.split("\n")
    lines = [line for one in ended if (line := _parsed(one))]
    # a process that was killed leaves a beginning of a line
    ours = len(lines) == len(ended) and '{"input": '.startswith(rest[:10])
    return lines, not rest, ours


def _parsed(text: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        line = json.loads(text)
        if isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in _KEYS.items()):
            return line
    return None
