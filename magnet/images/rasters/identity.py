"""What tells a raster from others: a broken-off job goes on, and results are replaced, for the same one only."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from magnet.files.trees import tree_mark
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.zarrs import is_zarr_folder

__all__ = ["file_mark", "is_stored", "raster_mark"]

_OF_SEVERAL = (".mrxs", ".vms", ".vmu", ".dcm")  # slides whose pixels lie in other files


def raster_mark(source: Any, raster: Raster) -> str:
    """Of a file as :func:`file_mark`; of a zarr array in a folder what its files are like; of an array in memory its
    content. What else there is, such as slides of several files, is never the same again."""
    path = Path(raster.name)
    if isinstance(source, np.ndarray):
        digest = hashlib.sha256(f"{source.shape} {source.dtype}".encode())
        for row in source:
            digest.update(np.ascontiguousarray(row).tobytes())
        return f"an array of SHA-256 {digest.hexdigest()}"
    if is_zarr_folder(path):
        return f"'{path.resolve()}' {tree_mark(path)[0]}"
    if not path.is_file() or path.suffix.lower() in _OF_SEVERAL:
        return f"'{raster.name}' of job {uuid.uuid4()}"
    return file_mark(path) if raster.page is None else f"{file_mark(path)} page {raster.page}"


def is_stored(source: Any, raster: Raster) -> bool:
    """Whether a raster's name is the path that it lies at."""
    path = Path(raster.name)
    return not isinstance(source, np.ndarray) and (path.is_file() or is_zarr_folder(path))


def file_mark(path: Path) -> str:
    """Its path, size and time, and those of the files beside it that belong to it."""
    beside = [one for one in path.parent.iterdir() if one.stem == path.stem or one.name.startswith(f"{path.name}.")]
    marks = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in sorted(beside) if one.is_file()]
    return f"'{path.resolve()}' {marks}"
