"""Writing results so that an interrupted run leaves no half file."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from magnet.errors import MagNetError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder beside ``path``; move it to ``path`` on success.

    The folder goes away in any case, with all that the writer put there: some writers make temporary files of their
    own beside the one that they were asked for.
    """
    target = Path(path)
    # only named here, not made: an interrupt between making it and the try would leave it behind
    folder = target.with_name(f".{target.stem[:32]}.{secrets.token_hex(8)}")
    try:
        folder.mkdir()
        temporary = folder / target.name
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # some writers make private files; results are ordinary ones
        temporary.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete what killed processes left of files that ``atomic_path`` was making in ``folder``."""
    for path in Path(folder).glob(".*"):
        if re.fullmatch(r"\..{0,32}\.[0-9a-f]{16}", path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


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
