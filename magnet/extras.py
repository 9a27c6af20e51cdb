"""Packages that only some commands need: imported where they are used, and asked for by name where they are missing."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from magnet.errors import MagNetError

__all__ = ["PACKAGES", "need", "needed"]

# what is typed: no index has this distribution, so that its extras cannot be installed by name
PACKAGES = {
    "geo": "'rasterio>=1.4'",
    "slides": "'openslide-python>=1.4' openslide-bin",
    "zarr": "'zarr>=3'",
    "onnx": "'onnx>=1.19' 'onnxscript>=0.5' 'onnxruntime>=1.22'",
    "timm": "'timm>=1'",
}


@contextlib.contextmanager
def needed(extra: str, what: str, argument: str = "image") -> Iterator[None]:
    """A context for imports, as ``with needed("geo", "the TIFF 'a.tif'"): import rasterio``.

    Args:
        extra: of this package, one of those of ``PACKAGES``: "geo", "slides", "zarr", "onnx" or "timm".
        what: cannot be read or written without it; of a message.
        argument: that the message names.

    Raises:
        MagNetError: an import inside failed.
    """
    try:
        yield
    except (ImportError, OSError) as error:  # OSError: a binding without its library
        reason = " ".join(str(error).split())
        raise MagNetError(
            f"{argument}: {what} needs a package that cannot be used ({reason}); pip install {PACKAGES[extra]} (the "
            f"extra [{extra}])"
        ) from error


def need(module: str, extra: str, what: str = "a TIFF of labels") -> ModuleType:
    """Import ``module``; arguments and errors are those of :func:`needed`."""
    with needed(extra, what):
        return importlib.import_module(module)
