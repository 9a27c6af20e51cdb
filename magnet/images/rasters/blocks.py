"""The strips and tiles of a TIFF as they lie in the file: which are not there, and which are not what was written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.images.deflate import checksum
from magnet.images.opening import CorruptImageError
from magnet.images.rasters.raster import Box

__all__ = ["check_deflate", "lacks_blocks", "missing_blocks"]


def _blocks(block: Size, box: Box) -> Iterator[tuple[str, tuple[slice, slice]]]:
    """The name of each block that a box touches, as GDAL's, and where it lies in the box."""
    x0, y0, x1, y1 = box
    height, width = block
    for row in range(y0 // height, -(-y1 // height)):
        for column in range(x0 // width, -(-x1 // width)):
            rows = slice(max(row * height - y0, 0), (row + 1) * height - y0)
            yield f"{column}_{row}", (rows, slice(max(column * width - x0, 0), (column + 1) * width - x0))


def _planes(file: Any) -> range:
    """The bands that have blocks of their own."""
    return range(1, file.count + 1) if file.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "BAND" else range(1, 2)


def lacks_blocks(file: Any) -> bool:
    """Whether any block is not in the file (of rasterio)."""
    height, width = file.block_shapes[0]
    names = (name for name, _ in _blocks((height, width), (0, 0, file.width, file.height)))
    planes = _planes(file)
    return any(file.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", band) is None for name in names for band in planes)


def missing_blocks(file: Any, block: Size, box: Box) -> np.ndarray | None:
    """Where blocks are not in the file, which then hold no values: GDAL reads them as nodata, or as 0.

    Args:
        file: of rasterio.
        block: (h, w) of its blocks.
        box: of its pixels.
    """
    x0, y0, x1, y1 = box
    missing = np.zeros((y1 - y0, x1 - x0), bool)
    planes = _planes(file)
    for name, where in _blocks(block, box):
        if any(file.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", band) is None for band in planes):
            missing[where] = True
    return missing if missing.any() else None


def check_deflate(path: str, file: Any, block: Size, box: Box, pixels: np.ndarray) -> None:
    """Compare the checksums of deflate in a file with what was decoded; libtiff leaves some of them out.

    As :func:`magnet.images.deflate.check_pieces`, of the blocks of a box.

    Args:
        path: the file.
        file: of rasterio.
        pixels: (h, w, bands) of the box, all bands, as stored.

    Raises:
        CorruptImageError: the data of a block are damaged.
    """
    structure = file.tags(ns="IMAGE_STRUCTURE")
    if structure.get("COMPRESSION") != "DEFLATE":
        return
    predictor = int(structure.get("PREDICTOR", 1))
    planes = _planes(file)
    with open(path, "rb") as content:
        for name, (rows, columns) in _blocks(block, box):
            for band in planes:
                offset, length = (
                    file.get_tag_item(f"BLOCK_{what}_{name}", "TIFF", band) for what in ("OFFSET", "SIZE")
                )
                if offset is None or length is None:
                    continue
                content.seek(int(offset))
                data = content.read(int(length))
                samples = pixels[rows, columns] if len(planes) == 1 else pixels[rows, columns, band - 1]
                if predictor in (1, 2) and samples.shape[:2] == block and data[-4:] == checksum(samples, predictor):
                    continue
                # other pixels than were stored; or a block at the edge, numbers of another byte order, floats
                try:
                    inflate = zlib.decompressobj()
                    inflate.decompress(data)
                    if not inflate.eof:
                        raise zlib.error("it ends early")
                except zlib.error as error:
                    raise CorruptImageError(
                        f"image: expected a whole TIFF, got damaged data at byte {offset} ({error}); replace the file: "
                        f"'{path}'"
                    ) from error
