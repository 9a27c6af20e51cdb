"""What a scene, an image that is resized whole, takes no account of: pixels without a value, a size on the ground."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.opening import failures
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.ome import ome_sides
from magnet.images.rasters.open import JP2_MAGIC, open_raster
from magnet.images.rasters.pages import read_pages
from magnet.images.rasters.read_input import InputImage
from magnet.images.rasters.slides import is_slide
from magnet.images.rasters.validity import read_with_validity
from magnet.images.rasters.where import has_place
from magnet.images.tiff import DAMAGE, TIFF_MAGIC
from magnet.notices import tell

__all__ = ["read_scene", "tell_ground"]

_FIX = "for 255 there, use predict_raster() (--extent ground)"


def read_scene(
    path: str | os.PathLike[str],
    inputs: InputSettings,
    fitting: Callable[[Size], Size],
    page: int | None = None,
) -> InputImage:
    """:func:`read_input` of an image all of whose pixels are labelled; those that hold no value are told of."""
    found = read_with_validity(path, inputs, fitting=fitting, page=page)
    if found.valid is not None:
        missing = 100 * float((~found.valid).mean())
        share = f"{missing:.2g}%" if missing < 99 else f"{missing:.3g}%"
        tell(
            "hold pixels without a value, which are labelled as all others",
            path,
            f"holds no value (nodata, alpha 0) in {share} of its pixels, which are labelled as all others in a scene",
            _FIX,
        )
    return found


def tell_ground(path: str | os.PathLike[str], size: Size, scale: Size) -> None:
    """Tell of a map or a slide of ``size`` (H, W) that is resized whole to a last scale, (H, W), smaller than it."""
    if (size[0] > scale[0] or size[1] > scale[1]) and (kind := _ground(Path(path))):
        tell(
            "are maps or slides that are larger than the last scale, and are resized whole",
            path,
            f"is {kind} of {size[0]}x{size[1]} (HxW), which is resized whole to the last scale, {scale[0]}x{scale[1]}",
            "to see it at its own pixels use predict_raster(); for a scene, load the model with extent='scene'",
        )


def _ground(path: Path) -> str:
    """What a file whose pixels have a size on the ground is; empty: it is a scene."""
    start = _start(path)
    try:
        pages = read_pages(path) if start.startswith(TIFF_MAGIC) else []
        if is_slide(path, pages[0].description if pages else None):
            return "a slide"
        if pages and ome_sides(pages, pages[0]) is not None:
            return "an OME-TIFF whose pixels have a size"
    except DAMAGE:
        pass
    except MagNetError:  # it is called one; the package that reads it is missing
        return "a slide"
    if has_place(path):
        return "a map"
    if start.startswith(JP2_MAGIC):
        with contextlib.suppress(MagNetError), open_raster(path) as raster:
            return "a map" if raster.place is not None else ""
    return ""


def _start(path: str | os.PathLike[str]) -> bytes:
    with failures(path), open(path, "rb") as file:
        return file.read(12)
