"""What tells a folder of files, such as a zarr array, from the same one at another time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["tree_mark"]


def tree_mark(folder: Path) -> tuple[str, int]:
    """A hash of the names, sizes and times of all files in a folder and below it, and how many bytes they have.

    Links to folders are not followed.

    Raises:
        OSError: it cannot be looked into.
    """

    def fail(error: OSError) -> None:
        raise error

    digest, size = hashlib.sha256(), 0
    for here, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(files):
            status = os.stat(os.path.join(here, name))
            relative = os.path.relpath(os.path.join(here, name), folder)
            size += status.st_size
            digest.update(repr((relative, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest(), size
