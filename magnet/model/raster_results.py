"""What is written of a segmented raster, and as which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from magnet.extras import need
from magnet.images.draw import Colours
from magnet.images.label_files.areas import write_areas
from magnet.images.label_files.blocks import Blocks
from magnet.images.label_files.geotiff import write_geotiff
from magnet.images.label_files.picture import write_palette
from magnet.images.label_files.place import pixel_area
from magnet.images.label_files.polygons import write_polygons
from magnet.images.label_files.pyramid import pyramid_tags, write_pyramid
from magnet.images.label_files.values import write_confidence, write_ids
from magnet.images.rasters.raster import Raster

__all__ = ["KINDS", "Looks", "check_packages", "raster_targets", "raster_writers"]

KINDS = ("labels", "confidence", "polygons", "areas", "ids")


class Looks(NamedTuple):
    """Names and colours of the classes."""

    class_names: Sequence[str] | None
    colours: Colours


def raster_targets(raster: Raster, stem: str, folder: Path, save: Sequence[str]) -> dict[str, Path]:
    """The file of each kind of result: GeoTIFF beside a raster with a place, a pyramid beside a slide, else PNG."""
    pixels = ".tif" if raster.place is not None or _is_slide(raster) else ".png"
    endings = dict.fromkeys(("labels", "confidence", "ids"), pixels) | {"polygons": ".geojson", "areas": ".csv"}
    return {kind: folder / f"{stem}_{kind}{endings[kind]}" for kind in save}


def check_packages(raster: Raster, save: Sequence[str]) -> None:
    """Before any work: the package that TIFFs are written by, and areas of a place are measured by.

    Raises:
        MagNetError: it is not installed.
    """
    if raster.place is not None or (_is_slide(raster) and {"labels", "confidence", "ids"} & set(save)):
        need("rasterio", "geo", f"the results of '{raster.name}'")


def raster_writers(
    raster: Raster,
    looks: Looks,
    labels: Blocks,
    confidence: Blocks | None,
    *,
    pixels: int,
    ids: Mapping[int, int] | None,
    answered: Blocks | None = None,
) -> Mapping[str, Callable[[Path], object]]:
    """A function for each kind of result that writes it to a path.

    Args:
        pixels: how many were wanted.
        ids: of each class; None: where none are written.
        answered: labels of all pixels that have a confidence, also where ``labels`` leave some out; None: ``labels``.
    """
    place, resolution = raster.place, raster.sides
    pyramid = pyramid_tags(resolution) if place is None and _is_slide(raster) else None
    names, colours = looks

    def write_labels(path: Path) -> None:
        if place is not None:
            write_geotiff(labels, path, place, colours, names)
        elif _is_slide(raster):
            write_pyramid(labels, path, resolution, colours, names)
        else:
            write_palette(labels, path, colours)

    def write_sure(path: Path) -> None:
        assert confidence is not None
        write_confidence(confidence, answered or labels, path, place, pyramid)

    def write_outlines(path: Path) -> None:
        write_polygons(
            labels,
            path,
            confidence=confidence,
            place=place,
            class_names=names,
            colours=colours,
            resolution=resolution,
        )

    return {
        "labels": write_labels,
        "confidence": write_sure,
        "ids": lambda path: write_ids(labels, path, ids, place, pyramid),
        "polygons": write_outlines,
        "areas": lambda path: write_areas(labels, path, names, pixel_area(place, resolution, raster.size), pixels),
    }


def _is_slide(raster: Raster) -> bool:
    return raster.sides is not None and raster.sides.unit == "um"
