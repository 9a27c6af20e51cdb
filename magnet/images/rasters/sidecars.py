"""Files beside a TIFF that belong to it: overviews (.ovr), masks (.msk) and world files (.tfw).

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
from magnet.images.tiff import TIFF_MAGIC

__all__ = ["companion", "world_file"]


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


def world_file(path: str | os.PathLike[str]) -> tuple[float, float, float, float, float, float] | None:
    """The transform of pixel corners that the world file beside an image says, or None where there is no such file.

    Raises:
        MagNetError: it does not hold six numbers.
    """
    suffix = Path(path).suffix.lower()
    # .tif: .tfw; .tiff: .tiffw, too
    names = [suffix[:2] + suffix[-1:] + "w", suffix + "w", ".wld"] if len(suffix) > 2 else [".wld"]
    for name in dict.fromkeys(names):
        for candidate in (Path(path).with_suffix(name), Path(path).with_suffix(name.upper())):
            if not candidate.is_file():
                continue
            try:
                a, d, b, e, x, y = map(float, reading.read_text(candidate, "image", "a world file").split())
                if not (all(map(math.isfinite, (a, b, d, e, x, y))) and a * e != b * d):
                    raise ValueError
            except ValueError as error:
                raise MagNetError(
                    f"image: expected six numbers in the world file '{candidate}', got others; mend or remove it"
                ) from error
            # world files name the centre of the first pixel
            return a, b, x - (a + b) / 2, d, e, y - (d + e) / 2
    return None
