"""GDAL, by rasterio: how it is started, how files are shared by threads, and what it says of damage.

GDAL opens far more than pictures, some of it files that name other files, addresses or programs. It is given one
driver, found by the first bytes, an absolute path of an ordinary file, and nothing that lies beside it (see
:mod:`magnet.images.rasters.sidecars`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from magnet.images.opening import CorruptImageError, failures, quiet, unreadable

__all__ = ["WARNINGS", "Handles", "Source", "named_errors"]

_OPTIONS = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes; it would be 5% of the memory, and tiles are kept here
    "GDAL_PAM_ENABLED": "NO",  # .aux.xml may name other files
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
}
_OF_TAGS = re.compile("Directory|TIFFFetch|unknown field", re.IGNORECASE)  # warnings that are not of pixels


class Source(NamedTuple):
    """How a level is opened: what GDAL is given as its name, the overview of it, and the driver."""

    path: str
    overview: int | None = None
    driver: str = "GTiff"

    @property
    def file(self) -> str:
        """The file on disc; of a page of a TIFF the path is GTIFF_DIR:off:OFFSET:FILE."""
        return self.path.split(":", 3)[3] if self.path.startswith("GTIFF_DIR:") else self.path


class Handles:
    """Opened levels. rasterio's are for one thread at a time: each is lent to one, and opened anew if none is free."""

    def __init__(self) -> None:
        self._free: dict[Source, list[Any]] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @contextlib.contextmanager
    def lent(self, source: Source) -> Iterator[Any]:
        import rasterio

        with self._lock:
            if self._process != os.getpid():  # a forked process shares the positions in files with its parent
                self._free, self._process = {}, os.getpid()
            free = self._free.setdefault(source, [])
            handle = free.pop() if free else None
        with rasterio.Env(**_OPTIONS):
            if handle is None:
                more = {} if source.overview is None else {"OVERVIEW_LEVEL": source.overview}
                with quiet():
                    handle = rasterio.open(source.path, driver=source.driver, sharing=False, **more)
            try:
                yield handle
            finally:
                with self._lock:
                    kept = not self._closed and self._process == os.getpid()
                    if kept:
                        self._free.setdefault(source, []).append(handle)
                if not kept:
                    handle.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            handles = [one for free in self._free.values() for one in free] if self._process == os.getpid() else []
            self._free = {}
        for one in handles:
            one.close()


class _Warnings(logging.Handler):
    """What GDAL warns of in this thread. Of a JPEG that is cut short libtiff only warns, and makes the rest up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._mine = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if getattr(self._mine, "texts", None) is not None and not _OF_TAGS.search(text):
            self._mine.texts.append(text)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[list[str]]:
        for name in ("rasterio._env", "rasterio._err"):
            logger = logging.getLogger(name)
            if self not in logger.handlers:
                logger.addHandler(self)
            if logger.getEffectiveLevel() > logging.WARNING:
                logger.setLevel(logging.WARNING)
        self._mine.texts = []
        try:
            yield self._mine.texts
        finally:
            self._mine.texts = None


WARNINGS = _Warnings()
logging.getLogger("rasterio").addHandler(logging.NullHandler())  # what it logs is told here in our words


@contextlib.contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever fails in rasterio is told of the file, with the reason that GDAL gave."""
    import rasterio.errors

    with failures(path):
        try:
            yield
        except (rasterio.errors.RasterioError, rasterio.errors.RasterioIOError) as error:
            reason = error.__cause__ or error
            if "missing codec" in str(reason):
                raise CorruptImageError(
                    f"image: expected a compression that GDAL decodes, got another one ({reason}); save it anew, as by "
                    f"deflate or LZW: '{path}'"
                ) from error
            raise unreadable(path, reason) from error
