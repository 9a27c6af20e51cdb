"""One band as a Cloud Optimized GeoTIFF: tiles, smaller copies of the whole, all written in bounded memory by GDAL."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError
from magnet.extras import need
from magnet.images.draw import Colours, colour_table
from magnet.images.label_files.blocks import TILE, Blocks, read_block, tiles
from magnet.images.label_files.place import crs_of
from magnet.images.rasters.raster import Place

__all__ = ["write_cog"]

_SETTINGS = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes; else a share of the machine's memory
    "GDAL_PAM_ENABLED": "NO",  # no .aux.xml beside the file
}


def write_cog(
    blocks: Blocks,
    path: Path,
    *,
    place: Place | None = None,
    nodata: int | None = None,
    colours: Colours | None = None,
    tags: Mapping[str, str] | None = None,
    band_tags: Mapping[str, str] | None = None,
    overviews: str = "mode",
) -> None:
    """Write ``blocks`` as a GeoTIFF with the layout of a COG: tiles of 512, deflated, BigTIFF where it is needed.

    A COG is laid out once all sizes are known, so the pixels are first written to a temporary file beside ``path``,
    which is read a second time; a disc needs room for both. In the end all of the file is read again, and compared.

    Args:
        blocks: are read once, tile by tile.
        path: the file to make.
        place: CRS and transform.
        nodata: the value that stands for no answer.
        colours: RGB of each class: a colour table.
        tags: of the file; ``band_tags`` of its band.
        overviews: how each next level, of half the size, is made of the one before: "mode" or "average".

    Raises:
        MagNetError: rasterio is not installed; GDAL cannot write the file, or not its CRS.
    """
    rasterio, shutil, windows = (need(name, "geo") for name in ("rasterio", "rasterio.shutil", "rasterio.windows"))
    height, width = blocks.size
    profile: dict[str, Any] = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "bigtiff": "IF_SAFER"}
    profile |= {"compress": "deflate", "zlevel": 1, "nodata": nodata}
    crs = None
    if place is not None:
        crs = crs_of(place)
        profile |= {"crs": crs, "transform": rasterio.Affine(*place.transform)}
    # with threads, GDAL tells no errors of some of them
    options = {"compress": "deflate", "blocksize": TILE, "bigtiff": "IF_SAFER"}
    options |= {"overview_resampling": overviews}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".cog.") as folder, _gdal(path):
        sums = array("L")
        work, made = Path(folder) / "work.tif", Path(folder) / "made.tif"
        with rasterio.open(work, "w", **profile) as file:
            if colours is not None:
                table = colour_table(colours).tolist()
                file.write_colormap(1, {value: (*colour, 255) for value, colour in enumerate(table)})
            file.update_tags(**(tags or {}))
            file.update_tags(1, **(band_tags or {}))
            for x0, y0, x1, y1 in tiles(blocks.size):
                block = read_block(blocks, (x0, y0, x1, y1))
                sums.append(zlib.crc32(block.tobytes()))
                file.write(block, 1, window=windows.Window(x0, y0, x1 - x0, y1 - y0))
        shutil.copy(work, made, driver="COG", **options)
        _check(made, crs, sums)
        made.replace(path)


def _check(path: Path, crs: object | None, sums: Sequence[int]) -> None:
    """Read all of a file that was just written: GDAL was seen to say nothing where a disc had become full.

    Args:
        path: the file.
        crs: that it should have.
        sums: CRC-32 of its tiles.

    Raises:
        MagNetError: it does not hold what was written.
        rasterio.errors.RasterioError: it cannot be read.
    """
    rasterio, windows = need("rasterio", "geo"), need("rasterio.windows", "geo")
    with rasterio.open(path, driver="GTiff") as file:
        if crs is not None and file.crs is None:
            raise MagNetError(
                f"place: expected a CRS that a GeoTIFF can hold, got {str(crs)[:80]!r}; reproject the raster"
            )
        levels = len(file.overviews(1))
    for level in range(levels + 1):
        with rasterio.open(path, driver="GTiff", **({"overview_level": level - 1} if level else {})) as file:
            for number, (x0, y0, x1, y1) in enumerate(tiles(file.shape)):
                block = file.read(1, window=windows.Window(x0, y0, x1 - x0, y1 - y0))
                # a tile that is not there would be read as nodata
                there = file.get_tag_item(f"BLOCK_OFFSET_{x0 // TILE}_{y0 // TILE}", "TIFF", bidx=1)
                if not there or (level == 0 and zlib.crc32(block) != sums[number]):
                    raise MagNetError(
                        f"path: expected to find in '{path.name}' what was just written there, got another tile "
                        f"{number} of level {level}; see that the disc has room for the file twice, and is sound"
                    )


@contextlib.contextmanager
def _gdal(path: Path) -> Iterator[None]:
    """Within it GDAL has little memory, writes no files of its own accord, and its errors name ``path``."""
    rasterio, errors = need("rasterio", "geo"), need("rasterio.errors", "geo")
    with warnings.catch_warnings(), rasterio.Env(**_SETTINGS):
        warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
        try:
            yield
        except (errors.RasterioError, need("rasterio._err", "geo").CPLE_BaseError) as error:
            raise MagNetError(
                f"path: expected to write '{path}', but GDAL says: {error}; see that the disc has room for it twice"
            ) from error
