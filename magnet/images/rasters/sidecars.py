"""Files beside an image that belong to it: overviews (.ovr), masks (.msk), world files (.tfw) and .prj.

They are found here and not by GDAL, which takes more for a file's companions: files of any of its formats, such as
those that refer to other files or to the network.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from magnet.errors import MagNetError
from magnet.files import reading
from magnet.images.opening import CorruptImageError, failures
from magnet.images.rasters.raster import Transform
from magnet.images.tiff import TIFF_MAGIC
from magnet.notices import tell

__all__ = ["companion", "projection_file", "tell_unread_place", "world_file", "world_file_path"]

_AUXILIARY = 2**20  # bytes of an .aux.xml that are looked at


def companion(path: str | os.PathLike[str], suffix: str) -> Path | None:
    """The TIFF called ``path`` and ``suffix``, or None.

    Raises:
        CorruptImageError: there is such a file, but it is no TIFF.
    """
    other = Path(f"{os.fspath(path)}{suffix}")
    if not other.exists():
        return None
    reading.check_file(other, "image")
    with failures(other), other.open("rb") as file:
        if file.read(4) in TIFF_MAGIC:
            return other
    raise CorruptImageError(
        f"image: expected '{other}', which lies beside its image, to be a TIFF of overviews or of a mask, got a file "
        "of another format; remove it, or make it anew with gdaladdo"
    )


def world_file_path(path: str | os.PathLike[str]) -> Path | None:
    """The world file beside an image: of a .png the .pgw, or .pngw, or .wld; None: there is none."""
    suffix = Path(path).suffix.lower()
    names = [suffix[:2] + suffix[-1:] + "w", suffix + "w", ".wld"] if len(suffix) > 2 else [".wld"]
    return _beside(path, names)


def world_file(path: str | os.PathLike[str]) -> Transform | None:
    """The transform of pixel corners that the world file beside an image says, or None where there is no such file.

    Raises:
        MagNetError: it does not hold six numbers.
    """
    found = world_file_path(path)
    if found is None:
        return None
    try:
        a, d, b, e, x, y = map(float, reading.read_text(found, "image", "a world file").split())
        if not (all(map(math.isfinite, (a, b, d, e, x, y))) and a * e != b * d):
            raise ValueError
    except ValueError as error:
        raise MagNetError(
            f"image: expected six numbers in the world file '{found}', got others; mend or remove it"
        ) from error
    # world files name the centre of the first pixel
    return a, b, x - (a + b) / 2, d, e, y - (d + e) / 2


def projection_file(path: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """The .prj beside an image, which names its coordinate reference system, and its text; None: there is none.

    Raises:
        MagNetError: it is no text.
    """
    found = _beside(path, [".prj"])
    if found is None:
        return None
    try:
        return found, reading.read_text(found, "image", "a .prj of WKT")
    except ValueError as error:
        raise MagNetError(f"image: expected WKT in '{found}', which is no UTF-8 text; mend or remove it") from error


def tell_unread_place(path: str | os.PathLike[str]) -> None:
    """Warn of a place that GDAL's .aux.xml beside an image says: it is not read, as it may name other files."""
    other = Path(f"{os.fspath(path)}.aux.xml")
    try:
        if not other.is_file():
            return
        with other.open("rb") as file:
            found = file.read(_AUXILIARY)
    except OSError:
        return
    if b"<GeoTransform" in found:
        tell(
            "have their place in an .aux.xml, which is not read",
            path,
            f"has its place in '{other.name}', which is not read",
            "make it a GeoTIFF, as with gdal_translate, or give it a world file and a .prj, as with -co WORLDFILE=YES",
        )


def _beside(path: str | os.PathLike[str], suffixes: list[str]) -> Path | None:
    """The first file of one of these suffixes, in lower or upper case."""
    names = (Path(path).with_suffix(case) for one in dict.fromkeys(suffixes) for case in (one, one.upper()))
    return next((one for one in names if one.is_file()), None)
