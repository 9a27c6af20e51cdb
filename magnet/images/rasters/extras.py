"""Packages that only some rasters need: imported where they are used, and asked for by name where they are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from magnet.errors import MagNetError

__all__ = ["needed"]


@contextlib.contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """A context for imports, as ``with needed("geo", "'a.tif'"): import rasterio``.

    Args:
        extra: of pip's name for the package, as in ``magnet-kernels[geo]``.
        what: cannot be read without it; of a message.

    Raises:
        MagNetError: an import inside failed.
    """
    try:
        yield
    except (ImportError, OSError) as error:  # OSError: a binding without its library
        reason = " ".join(str(error).split())
        raise MagNetError(
            f"image: {what} needs a package that cannot be used ({reason}); pip install 'magnet-kernels[{extra}]'"
        ) from error
