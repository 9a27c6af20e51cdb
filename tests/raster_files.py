"""Rasters in files as others write them: by rasterio (GDAL), tifffile and zarr."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magnet.images.rasters.raster import Raster


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """(height, width, channels) of the whole range of a type of whole numbers, or of -1000..1000 of floats."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.uniform(-1000, 1000, (height, width, channels)).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, (height, width, channels), dtype=kind, endpoint=True)


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    """(height, width, channels) uint8 whose levels look alike."""
    y, x = np.mgrid[:height, :width]
    bands = [127 + 120 * np.sin(x / (17 + c) + c) * np.cos(y / (23 - c)) for c in range(channels)]
    return np.stack(bands, axis=2).astype(np.uint8)


def whole(raster: Raster, level: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All of a level, and its valid pixels."""
    height, width = raster.levels[level]
    return raster.read_level(level, (0, 0, width, height))


def at(*values: float) -> Any:
    """The transform as rasterio takes it."""
    from affine import Affine

    return Affine(*values)


def quiet_gdal() -> Any:
    """Without the warning of files that lie nowhere."""
    import warnings

    caught = warnings.catch_warnings()
    caught.__enter__()
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    return caught


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    *,
    overviews: Sequence[int] = (),
    resampling: str = "nearest",
    mask: np.ndarray | None = None,
    colours: Sequence[str] | None = None,
    palette: dict[int, tuple[int, int, int, int]] | None = None,
    descriptions: Sequence[str] = (),
    tags: dict[str, dict[str, str]] | None = None,
    external: bool = False,
    options: dict[str, str] | None = None,
    driver: str = "GTiff",
    **profile: Any,
) -> Path:
    """(H, W, C) by rasterio, in tiles of 64 unless told.

    Args:
        external: overviews go into a file beside it.
        tags: by their domain.
        options: GDAL's, as GDAL_TIFF_INTERNAL_MASK.
    """
    import rasterio
    from rasterio.enums import ColorInterp, Resampling

    caught = quiet_gdal()
    height, width, count = pixels.shape
    if driver == "GTiff" and "tiled" not in profile:
        profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, **profile}
        if count != 3:  # else GDAL takes the fourth band for alpha
            profile.setdefault("photometric", "minisblack")
    try:
        with rasterio.Env(**(options or {})):
            with rasterio.open(
                path, "w", driver=driver, height=height, width=width, count=count, dtype=pixels.dtype, **profile
            ) as file:
                if colours is not None:
                    file.colorinterp = [ColorInterp[name] for name in colours]
                file.write(np.moveaxis(pixels, -1, 0))
                if palette is not None:
                    file.write_colormap(1, palette)
                if descriptions:
                    file.descriptions = descriptions
                for domain, values in (tags or {}).items():
                    file.update_tags(ns=domain, **values)
                if mask is not None:
                    file.write_mask(mask)
            if overviews:
                with rasterio.Env(TIFF_USE_OVR="YES" if external else "NO"), rasterio.open(path, "r+") as file:
                    file.build_overviews(list(overviews), Resampling[resampling])
    finally:
        caught.__exit__(None, None, None)
    return path


def levels_of_file(path: Path) -> list[np.ndarray]:
    """All levels as rasterio reads them, (h, w, C) each."""
    import rasterio

    caught = quiet_gdal()
    try:
        with rasterio.open(path) as file:
            found = [np.moveaxis(file.read(), 0, -1)]
            count = len(file.overviews(1))
        for i in range(count):
            with rasterio.open(path, OVERVIEW_LEVEL=i) as file:
                found.append(np.moveaxis(file.read(), 0, -1))
        return found
    finally:
        caught.__exit__(None, None, None)


def halved(pixels: np.ndarray, times: int = 1) -> np.ndarray:
    """Every second pixel, sides rounded up."""
    return pixels[:: 2**times, :: 2**times]


def plain_resize(
    pixels: np.ndarray, valid: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The definition of ``Raster.read`` on one level, pixel by pixel, in float64, not rounded."""
    height, width, channels = pixels.shape
    x0, y0, x1, y1 = box
    pitch_y, pitch_x = (y1 - y0) / size[0], (x1 - x0) / size[1]
    result = np.zeros((*size, channels))
    inside = np.zeros(size, bool)
    for i in range(size[0]):
        for j in range(size[1]):
            cy, cx = y0 + (i + 0.5) * pitch_y, x0 + (j + 0.5) * pitch_x
            if not (0 <= cy < height and 0 <= cx < width and valid[int(cy), int(cx)]):
                continue
            inside[i, j] = True
            total, value = 0.0, np.zeros(channels)
            for y in range(height):
                wy = 1 - abs(y + 0.5 - cy) / max(pitch_y, 1)
                for x in range(width) if wy > 0 else ():
                    weight = wy * max(0.0, 1 - abs(x + 0.5 - cx) / max(pitch_x, 1))
                    if weight > 0 and valid[y, x]:
                        total += weight
                        value += weight * pixels[y, x].astype(np.float64)
            result[i, j] = value / total
    return result, inside


def write_slide(
    path: Path, levels: Sequence[np.ndarray], *, mpp: str = "0.4990", compression: str = "zlib", tile: int = 128
) -> Path:
    """An SVS as Aperio's scanners write them: levels in tiles, a thumbnail after the first, label and macro last."""
    import tifffile

    with tifffile.TiffWriter(path) as file:
        for i, one in enumerate(levels):
            height, width = one.shape[:2]
            text = f"Aperio Image Library v11.2.1 \r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile}) Q=70"
            text += f"|AppMag = 20|MPP = {mpp}" if mpp else "|AppMag = 20"
            jpeg = compression == "jpeg"
            file.write(
                iter(_jpeg_tiles(one, tile)) if jpeg else np.ascontiguousarray(one),
                shape=one.shape,
                dtype=one.dtype,
                photometric="rgb",
                tile=(tile, tile),
                compression=None if jpeg else compression,
                extratags=[(530, "H", 2, (2, 2), True)] if jpeg else (),
                metadata=None,
                description=text,
            )
            if i == 0:
                file.write(noise(40, 50), photometric="rgb", metadata=None, description="Aperio thumbnail")
        for kind, number in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v11.2.1 \r\n{kind} 60x30"
            file.write(noise(30, 60), photometric="rgb", subfiletype=number, metadata=None, description=text)
    if compression == "jpeg":  # which tifffile writes by a further package alone: the tiles are, but are not called so
        with tifffile.TiffFile(path, mode="r+") as written:
            for page in written.pages:
                if page.is_tiled:
                    page.tags["Compression"].overwrite(7)  # type: ignore[union-attr]
                    page.tags["PhotometricInterpretation"].overwrite(6)  # type: ignore[union-attr]
    return path


def _jpeg_tiles(pixels: np.ndarray, side: int) -> list[bytes]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    tiles = []
    for y in range(0, height, side):
        for x in range(0, width, side):
            content = io.BytesIO()
            Image.fromarray(padded[y : y + side, x : x + side]).save(content, "JPEG", quality=90, subsampling=2)
            tiles.append(content.getvalue())
    return tiles


def write_ome_zarr(
    path: Path, levels: Sequence[np.ndarray], *, version: str = "0.4", micrometres: float = 0.25
) -> Path:
    """(H, W, C) levels as an OME-Zarr image with axes t, c, z, y, x."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for i, one in enumerate(levels):
        stored = np.moveaxis(one, -1, 0)[None, :, None]
        array = group.create_array(str(i), shape=stored.shape, chunks=(1, 1, 1, 64, 64), dtype=one.dtype)
        array[:] = stored
        ratio = levels[0].shape[0] / one.shape[0]
        scale = [1.0, 1.0, 1.0, micrometres * ratio, micrometres * ratio]
        datasets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    images = [{"axes": axes, "datasets": datasets, "version": version}]
    if version == "0.4":
        group.attrs["multiscales"] = images
    else:
        group.attrs["ome"] = {"version": version, "multiscales": images}
    return path


def read_in_threads(raster: Raster, pixels: np.ndarray, side: int, threads: int = 4) -> None:
    """Windows of ``side`` all over the finest level, by several threads at once, each compared with ``pixels``."""

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(20):
            y, x = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
            box = x, y, x + side, y + side
            np.testing.assert_array_equal(raster.read_level(0, box)[0], pixels[y : y + side, x : x + side])

    start = threading.Barrier(threads)
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(read, seed) for seed in range(threads)]:
            future.result()
