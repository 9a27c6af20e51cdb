"""Writing results so that an interrupted run leaves no half file."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from magnet.errors import MagNetError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, delete it on any error.

    The suffix of ``path`` is kept, so that writers that choose a format by suffix work.
    """
    target = Path(path)
    # only named here, not made: an interrupt between making it and the try would leave it behind
    temporary = target.with_name(f".{target.stem[:32]}.{secrets.token_hex(8)}{target.suffix}")
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # some writers make private files; results are ordinary ones
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete what killed processes left of files that ``atomic_path`` was making in ``folder``."""
    for path in Path(folder).glob(".*"):
        if re.fullmatch(r"\..{0,32}\.[0-9a-f]{16}(\..*)?", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def check_output_dir(path: str | os.PathLike[str], argument: str = "--out") -> Path:
    """Create the folder ``path`` and prove that files can be written there, before any work starts.

    Raises:
        MagNetError: the folder cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{secrets.token_hex(8)}"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MagNetError(
            f"{argument}: expected a folder that can be written to, got '{folder}' ({reason}); choose another folder"
        ) from error
    return folder
