"""One way to open what says which pixels of a raster are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from magnet.errors import MagNetError
from magnet.images.lossy import lossy_format
from magnet.images.opening import check_file, failures
from magnet.images.rasters.identity import file_mark, raster_mark
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import TiledRaster
from magnet.images.wanted.polygon_mask import PolygonMask
from magnet.images.wanted.raster_mask import RasterMask
from magnet.images.wanted.tissue import Tissue
from magnet.images.wanted.wanted import AllOf, Wanted, mask_errors

__all__ = ["open_wanted"]

_GEOJSON = (".geojson", ".json")
_CACHE_BYTES = 1 << 25  # of decoded tiles of a mask that are kept


@contextmanager
def open_wanted(raster: Raster, mask: Any, *, tissue: bool) -> Iterator[Wanted | None]:
    """What is wanted of a raster; None: all of it.

    Args:
        mask: a GeoJSON file of polygons, or what :func:`magnet.open_raster` takes, or a bool array; None: no mask.
        tissue: only where there is tissue.

    Raises:
        MagNetError: the mask cannot be read, or does not fit the raster.
        TypeError, ValueError: it is none.
    """
    parts: list[Wanted] = []
    with ExitStack() as stack:
        if mask is not None:
            with mask_errors():
                parts.append(_open_mask(raster, mask, stack))
        if tissue:
            parts.append(Tissue(raster))
        yield parts[0] if len(parts) == 1 else AllOf(parts) if parts else None


def _open_mask(raster: Raster, mask: Any, stack: ExitStack) -> Wanted:
    if isinstance(mask, str | os.PathLike) and Path(mask).suffix.lower() in _GEOJSON:
        path = Path(mask)
        check_file(path)
        return PolygonMask(path, raster, file_mark(path))
    if isinstance(mask, str | os.PathLike) and Path(mask).is_file():
        with failures(mask):
            lossy = lossy_format(mask)
        if lossy:
            raise MagNetError(
                f"mask: expected values as they were, but '{mask}' is {lossy}, in which 0 beside others is not quite "
                "0; save it as PNG or as a TIFF without losses"
            )
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        mask = mask.astype(np.uint8)
    opened = mask
    if not isinstance(mask, Raster):
        opened = stack.enter_context(open_raster(mask))
        if isinstance(opened, TiledRaster):  # it is read once, from the top
            opened.cache_bytes = _CACHE_BYTES
    return RasterMask(opened, raster, raster_mark(mask, opened))
