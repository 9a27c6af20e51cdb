"""What torch's exporters say: nothing while they work, and one reason where they fail."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from magnet.errors import printable

__all__ = ["quiet", "reason"]

_LOGS = ("torch.export", "torch.onnx", "torch._inductor")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters tell of their own parts and of their progress."""
    logs = [logging.getLogger(name) for name in _LOGS]
    levels = [log.level for log in logs]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for log in logs:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def reason(error: BaseException) -> str:
    """The error that another one began with, in one line: exporters wrap it into advice for their developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return printable(" ".join(str(error).split()) or type(error).__name__, 400)
