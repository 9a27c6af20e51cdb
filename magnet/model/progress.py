"""Progress of long work on stderr: a bar on a terminal, elsewhere a line a minute, as the log of a job is read."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

__all__ = ["progress_of"]

_SECONDS = 60.0  # between lines, and before the first: short work says nothing
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} gone, {remaining} left{postfix}"


def progress_of(iterable: Iterable[Any] | None, *, shown: bool | None = None, **given: Any) -> tqdm:
    """``iterable`` with its progress: a bar where ``shown``, none where False; None: by what stderr is.

    Without ``iterable`` a bar for ``update``.

    ``given``: arguments of tqdm, with ``desc`` and ``unit``.
    """
    if shown is not None or sys.stderr.isatty():
        return tqdm(iterable, disable=shown is False, **given)
    lines = {"file": _Lines(sys.stderr), "bar_format": _LINE, "miniters": 1, "leave": False}
    seconds = dict.fromkeys(("delay", "mininterval", "maxinterval"), _SECONDS)
    return tqdm(iterable, **{**given, **lines, **seconds})


class _Lines:
    """A stream that makes a line of its own of each state of a bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
