"""Writing results so that an interrupted run leaves no half file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from magnet.errors import MagNetError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, delete it on any error.

    The suffix of ``path`` is kept, so that writers that choose a format by suffix work.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp gives 0600; results are ordinary files
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_output_dir(path: str | os.PathLike[str], argument: str = "--out") -> Path:
    """Create the folder ``path`` and prove that files can be written there, before any work starts.

    Raises:
        MagNetError: the folder cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writable.", dir=folder)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MagNetError(
            f"{argument}: expected a folder that can be written to, got '{folder}' ({reason}); choose another folder"
        ) from error
    return folder
