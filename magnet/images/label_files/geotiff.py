"""Labels as GeoTIFF, for geographic information systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magnet.images.draw import Colours
from magnet.images.label_files.blocks import NO_ANSWER, Blocks
from magnet.images.label_files.cog import write_cog
from magnet.images.rasters.raster import Place

__all__ = ["write_geotiff"]


def write_geotiff(
    labels: Blocks, path: Path, place: Place | None, colours: Colours, class_names: Sequence[str] | None = None
) -> None:
    """Write labels as a Cloud Optimized GeoTIFF: class ids with a colour table, 255 as nodata.

    The class names are tags of the band, CLASS_0, CLASS_1 and so on: TIFF has no other place for them. Each overview
    pixel is the most frequent class of its four in the level before, the first to reach that count in reading order;
    pixels of no answer are counted only where all four are.

    Raises:
        MagNetError: as :func:`magnet.images.label_files.cog.write_cog`.
    """
    names = {f"CLASS_{number}": name for number, name in enumerate(class_names or ())}
    write_cog(labels, path, place=place, nodata=NO_ANSWER, colours=colours, band_tags=names)
