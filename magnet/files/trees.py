"""What tells a folder of files, such as a zarr array, from the same one at another time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["tree_mark"]


def tree_mark(folder: Path) -> str:
    """A hash of the names, sizes and times of all files in a folder and below it; links to folders are not followed.

    Raises:
        OSError: it cannot be looked into.
    """

    def fail(error: OSError) -> None:
        raise error

    digest = hashlib.sha256()
    for here, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(files):
            status = os.stat(os.path.join(here, name))
            relative = os.path.relpath(os.path.join(here, name), folder)
            digest.update(repr((relative, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()
