"""Labels as a pyramid of tiles, for viewers of slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magnet.images.draw import Colours
from magnet.images.label_files.blocks import NO_ANSWER, Blocks
from magnet.images.label_files.cog import write_cog
from magnet.images.rasters.raster import Resolution, Sides

__all__ = ["pyramid_tags", "write_pyramid"]

_CENTIMETRE = {"um": 1e4, "m": 0.01}


def pyramid_tags(resolution: Resolution | Sides | None) -> dict[str, str]:
    """The tags of a TIFF that say its resolution; none where it is not known.

    Raises:
        ValueError: a resolution of another unit, or not above 0.
    """
    if resolution is None:
        return {}
    height, width, unit = resolution.sides
    if unit not in _CENTIMETRE or not (height > 0 and width > 0):
        raise ValueError(
            f"resolution: expected above 0 um or m, got {height} x {width} {unit} (height x width); convert it"
        )
    across, down = (repr(_CENTIMETRE[unit] / side) for side in (width, height))
    return {"TIFFTAG_XRESOLUTION": across, "TIFFTAG_YRESOLUTION": down, "TIFFTAG_RESOLUTIONUNIT": "3"}  # centimetre


def write_pyramid(
    labels: Blocks,
    path: Path,
    resolution: Resolution | Sides | None,
    colours: Colours,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write labels as a tiled TIFF with a palette, whose smaller levels follow as reduced pages.

    OpenSlide opens it as "generic-tiff" with all levels, and so does QuPath through it. The levels are made as those of
    :func:`magnet.images.label_files.geotiff.write_geotiff`. TIFF tells the resolution in pixels per centimetre.

    Raises:
        MagNetError: as :func:`magnet.images.label_files.cog.write_cog`.
        ValueError: a resolution of another unit, or not above 0.
    """
    tags = pyramid_tags(resolution)
    names = {f"CLASS_{number}": name for number, name in enumerate(class_names or ())}
    write_cog(labels, path, nodata=NO_ANSWER, colours=colours, tags=tags, band_tags=names)
