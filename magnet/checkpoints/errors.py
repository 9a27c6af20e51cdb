"""Why weights do not fit, or cannot be read."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence

from magnet.errors import MagNetError, printable

__all__ = ["CheckpointError", "listed", "unreadable"]


_SHOWN = 6  # keys of each kind in an error message; the exception holds them all


class CheckpointError(MagNetError):
    """Weights that do not fit a network; the attributes hold every key, where the message shows the first few.

    Attributes:
        missing: keys of the network that the checkpoint lacks.
        unexpected: keys of the checkpoint that the network lacks.
        mismatched: key -> (checkpoint's, network's) shape or dtype.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mismatched = dict(mismatched or {})


def listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(printable(item) for item in items[:_SHOWN]) + more


def unreadable(path: str | os.PathLike[str], error: Exception) -> MagNetError:
    reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0])
    if isinstance(error, pickle.UnpicklingError | KeyError):  # whose text is a number
        reason = "no state dict could be unpickled"  # torch's own text advises to load it unsafely
    if isinstance(error, FileNotFoundError):
        return MagNetError(f"weights: expected a file, but '{path}' does not exist; check the path")
    if isinstance(error, (IsADirectoryError, PermissionError)):
        told = f"weights: expected a readable file, but '{path}' is not one ({error.strerror})"
        return MagNetError(f"{told}; check the path and its permissions")
    return MagNetError(f"weights: '{path}' is truncated, corrupt or not a checkpoint ({reason}); get the file again")
