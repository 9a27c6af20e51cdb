"""What a scene, an image that is resized whole, takes no account of: pixels without a value, a size on the ground."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.images.large import past_limit
from magnet.images.opening import failures
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import JP2_MAGIC, open_raster
from magnet.images.rasters.pages import choose_page, read_pages
from magnet.images.rasters.read_input import InputImage, read_input
from magnet.images.rasters.sidecars import companion
from magnet.images.rasters.slides import is_slide
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
    """:func:`read_input` of an image all of whose pixels are labelled; those that hold no value are told of.

    Other files than TIFFs, as pictures whose background is transparent, are not looked at where they are 8-bit RGB.
    """
    found = read_input(path, inputs, fitting=fitting, page=page)
    try:
        valid = _validity(path, found, page) if found.valid is None else found.valid
    except MagNetError as error:  # its pixels were read: rasterio is missing, or a mask is damaged
        tell(
            "may hold pixels without a value, which are labelled as all others",
            path,
            f"may hold pixels without a value, which are labelled as all others in a scene ({error})",
            _FIX,
        )
        return found
    if valid is not None and not valid.all():
        share = f"{100 * float((~valid).mean()):.2g}%"
        tell(
            "hold pixels without a value, which are labelled as all others",
            path,
            f"holds no value (nodata, alpha 0) in {share} of its pixels, which are labelled as all others in a scene",
            _FIX,
        )
    return found


def _validity(path: str | os.PathLike[str], found: InputImage, page: int | None) -> np.ndarray | None:
    """(h, w) bool, where a TIFF holds a value, which is decoded again for that; None: it says that all pixels do."""
    if not _may_lack_values(path, page):
        return None
    with open_raster(path, page=page) as raster:
        height, width = raster.size
        box = (0, 0, width, height)
        whole = not past_limit(raster.size)
        return (raster.read_level(0, box) if whole else raster.read(box, found.pixels.shape[:2]))[1]


def _may_lack_values(path: str | os.PathLike[str], page: int | None) -> bool:
    """Whether a TIFF, or a page of it, has nodata, alpha or a mask."""
    if not _start(path).startswith(TIFF_MAGIC):
        return False
    try:
        pages = read_pages(path)
    except DAMAGE:  # of other pages than the one that was read
        return False
    head = choose_page(pages, page or 0, os.fspath(path)).head
    return head.nodata or head.alpha or any(one.mask for one in pages) or companion(path, ".msk") is not None


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
        if is_slide(path, read_pages(path)[0].description if start.startswith(TIFF_MAGIC) else None):
            return "a slide"
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
