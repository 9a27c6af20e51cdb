"""Opening image files: regular files only, of named formats only, and every failure told as what it is.

Pillow knows formats for which it starts another program (EPS: Ghostscript), and finds the format by the content,
whatever the name says. Every file that this library opens with Pillow is opened here, by decoders that stay in the
process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import PIL
from PIL import Image, UnidentifiedImageError

from magnet.errors import MagNetError
from magnet.files import reading

__all__ = [
    "FORMATS",
    "CorruptImageError",
    "LargeImageError",
    "PixelsError",
    "check_file",
    "failures",
    "opened",
    "quiet",
    "too_large",
    "unreadable",
]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")  # MPO is among JPEG


class CorruptImageError(MagNetError):
    """A file that cannot be read as an image: corrupt, truncated, no image, or of pixels without a known meaning."""


class PixelsError(CorruptImageError):
    """A sound file of other bands or values than 8-bit RGB is made of: networks that are told of them may see it."""


class LargeImageError(MagNetError):
    """An image past Pillow's size limit, which is read by window (``magnet.images.large``), not as a whole."""


def unreadable(path: str | os.PathLike[str], error: object) -> CorruptImageError:
    """The error for a file that a decoder could not make sense of."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return CorruptImageError(
        f"image: expected a readable image, but '{path}' is corrupt or not an image ({reason}); replace the file"
    )


def _unknown(path: str | os.PathLike[str]) -> CorruptImageError:
    """The error for a file of a format that is not read, by what it begins with."""
    start = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(1024)
    if start.startswith(b"\x93NUMPY"):
        return CorruptImageError(
            f"image: expected a picture, but '{path}' is an array of NumPy; give it to predict_raster (--extent "
            "ground), or pass the array itself (numpy.load)"
        )
    if b"<VRTDataset" in start:
        return CorruptImageError(
            f"image: expected a file that holds its pixels, but '{path}' is a VRT, which names other files and is not "
            "followed; write them into one file (gdal_translate -of COG)"
        )
    return CorruptImageError(
        f"image: expected a readable image, but '{path}' is corrupt or not an image (its content is none of "
        f"{', '.join(FORMATS)}); replace the file, or save it as one of these"
    )


def too_large(path: str | os.PathLike[str], reason: object) -> LargeImageError:
    """The error for an image past Pillow's size limit."""
    return LargeImageError(
        f"image: '{path}' has more pixels than Pillow reads at once ({reason}); give its path to magnet predict or "
        "MagNet.predict, or read windows of it with magnet.images.open_image"
    )


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file, see :func:`magnet.files.reading.check_file`.

    Raises:
        MagNetError: nothing there, not allowed to look, or no file.
    """
    try:
        reading.check_file(path, "image")
    except (FileNotFoundError, NotADirectoryError):
        raise MagNetError(f"image: expected a file, but '{path}' does not exist; check the path") from None
    except OSError as error:
        raise _system(path, error) from error


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """An image file opened by Pillow, nothing decoded. What fails inside the block is told as a fault of the file.

    Raises:
        CorruptImageError: a decoder failed, in whatever way: they have many.
        LargeImageError: it has more pixels than Pillow opens.
        MagNetError: it does not exist, is no file, or may not be read. All of these are MagNetErrors.
    """
    check_file(path)
    with failures(path), quiet(), open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
        yield image


@contextlib.contextmanager
def failures(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is raised inside, told of the file; MagNetErrors stay what they are. See :func:`opened`."""
    try:
        yield
    except MagNetError:
        raise
    except Image.DecompressionBombError as error:
        raise too_large(path, error) from error
    except MemoryError as error:
        raise MagNetError(
            f"image: there is not enough memory to read '{path}'; close other programs, or replace it if it is small"
        ) from error
    except UnidentifiedImageError as error:
        raise _unknown(path) from error
    except OSError as error:
        # decoders raise OSErrors of their own, which have no number, and damaged offsets give EINVAL
        if error.errno in (None, errno.EINVAL):
            raise unreadable(path, error) from error
        raise _system(path, error) from error
    except Exception as error:
        raise unreadable(path, error) from error


def _system(path: str | os.PathLike[str], error: OSError) -> MagNetError:
    fix = "change its permissions" if error.errno in (errno.EACCES, errno.EPERM) else "see to its disk or mount"
    return MagNetError(f"image: '{path}' cannot be read ({error.strerror}); {fix}")


class _Quiet:
    """Pillow's warnings (of strange tags, of many pixels), and one of rasterio, are off while any thread reads.

    Python's filters belong to all threads: the first to come in changes them, the last to leave puts them back.
    """

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):  # a child has none of the threads that would leave
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._inside, self._kept = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._kept.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.filterwarnings("ignore", message="Dataset has no geotransform")  # of rasterio: most have none
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._kept.close()


_QUIET = _Quiet()


def _quiet_libtiff() -> None:
    """The libtiff that comes with Pillow prints on stderr what Pillow raises too, and warns of unknown tags."""
    home = Path(PIL.__file__).parent
    for path in [*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")]:
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)


_quiet_libtiff()
for _name in ("PIL", "pyvips"):  # what they log is for who asks for it; it is told here in our words
    logging.getLogger(_name).addHandler(logging.NullHandler())


def quiet() -> _Quiet:
    """A context without the warnings of Pillow."""
    return _QUIET
