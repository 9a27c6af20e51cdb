"""Damaged TIFFs, and those that name other files, are refused whatever GDAL says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_files import noise, smooth, whole, write_tiff

import magnet
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError

pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the rasterio that writes

UTM = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def damaged(path: Path, pixels: np.ndarray, how: str, **options: Any) -> Path:
    write_tiff(path, pixels, **options)
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) * 2 // 3 :]
    else:
        del content[50:]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("compress", ["none", "deflate", "lzw", "zstd", "jpeg", "webp"])
@pytest.mark.parametrize("how", ["cut", "cut early"])
def test_files_that_are_cut_short(tmp_path: Path, driver: str, compress: str, how: str) -> None:
    path = damaged(tmp_path / "x.tif", noise(300, 300), how, compress=compress, driver=driver)
    with pytest.raises(CorruptImageError, match=r"x\.tif"), magnet.open_raster(path) as raster:
        whole(raster)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"predictor": 2},
        {"dtype": np.float32, "predictor": 3},
        {"interleave": "band"},
        {"tiled": False},
        {"driver": "COG"},
    ],
)
def test_each_damaged_byte_of_deflate_is_found(tmp_path: Path, options: dict[str, Any]) -> None:
    """The one compression with a checksum, which libtiff does not always compare."""
    options = dict(options)
    pixels = smooth(200, 150).astype(options.pop("dtype", np.uint8))
    path = write_tiff(tmp_path / "x.tif", pixels, compress="deflate", **options)
    with magnet.open_raster(path) as raster:
        np.testing.assert_array_equal(whole(raster)[0], pixels)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(len(content) // 3, len(content) * 2 // 3, 30).tolist():
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(CorruptImageError, match=r"x\.tif"), magnet.open_raster(path) as raster:
            whole(raster)


@pytest.mark.parametrize("logging_off", [False, True])
def test_a_jpeg_tile_whose_end_is_lost(tmp_path: Path, logging_off: bool) -> None:
    """libtiff only warns, and makes up the rest of the tile in grey."""
    import logging

    import rasterio

    path = write_tiff(tmp_path / "x.tif", noise(300, 300), compress="jpeg", photometric="ycbcr")
    with rasterio.open(path) as file:
        start, length = (int(file.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", 1)) for what in ("OFFSET", "SIZE"))
    content = bytearray(path.read_bytes())
    content[start + length // 2 : start + length] = bytes(length - length // 2)
    path.write_bytes(content)
    logger = logging.getLogger("rasterio")
    before = logger.level
    logger.setLevel(logging.CRITICAL if logging_off else logging.WARNING)
    try:
        with magnet.open_raster(path) as raster:
            raster.read_level(0, (0, 0, 60, 60))
            with pytest.raises(CorruptImageError, match=r"x\.tif.*JPEG"):
                raster.read_level(0, (0, 0, 70, 70))
    finally:
        logger.setLevel(before)


def test_warnings_of_an_odd_head_are_no_damage(tmp_path: Path) -> None:
    """libtiff warns of tags out of order whenever the file is opened, as in each further thread."""
    import logging

    pixels = noise(200, 200)
    path = write_tiff(tmp_path / "x.tif", pixels)
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little") + 2
    content[start : start + 24] = content[start + 12 : start + 24] + content[start : start + 12]
    path.write_bytes(content)
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("rasterio").addHandler(handler)
    try:
        with magnet.open_raster(path) as raster:
            raster._handles._free.clear()  # type: ignore[attr-defined]  # so that reading opens it again
            told.clear()
            np.testing.assert_array_equal(whole(raster)[0], pixels)
    finally:
        logging.getLogger("rasterio").removeHandler(handler)
    assert any("sorted" in text for text in told)


def test_tiles_that_are_not_there_hold_no_values(tmp_path: Path) -> None:
    """GDAL reads them as black."""
    import rasterio
    from rasterio.windows import Window

    path = tmp_path / "x.tif"
    profile = {"driver": "GTiff", "width": 128, "height": 192, "count": 2, "dtype": "uint8", "tiled": True}
    with rasterio.open(path, "w", blockxsize=64, blockysize=64, SPARSE_OK=True, **profile) as file:
        file.write(np.full((2, 64, 64), 7, np.uint8), window=Window(64, 64, 64, 64))
    with magnet.open_raster(path) as raster:
        got, valid = whole(raster)
    wanted = np.zeros((192, 128), bool)
    wanted[64:128, 64:] = True
    np.testing.assert_array_equal(valid, wanted)
    assert (got[valid] == 7).all()


def test_what_lies_beside_a_tiff_is_a_tiff(tmp_path: Path) -> None:
    """GDAL would open any of its formats there, such as those that name an address."""
    path = write_tiff(tmp_path / "x.tif", noise(100, 100))
    for suffix in (".ovr", ".msk"):
        beside = tmp_path / f"x.tif{suffix}"
        beside.write_text("<VRTDataset rasterXSize='50' rasterYSize='50'></VRTDataset>")
        with pytest.raises(CorruptImageError, match=rf"x\.tif\{suffix}"):
            magnet.open_raster(path)
        beside.unlink()
    (tmp_path / "x.tif.aux.xml").write_text(
        "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/vsicurl/http://x/y.tif</MDI></Metadata>"
        "</PAMDataset>"
    )
    with magnet.open_raster(path) as raster:
        assert raster.levels == ((100, 100),)


def test_an_image_that_names_its_overviews_is_refused(tmp_path: Path) -> None:
    other = write_tiff(tmp_path / "y.tif", noise(50, 50))
    path = write_tiff(tmp_path / "x.tif", noise(100, 100), tags={"OVERVIEWS": {"OVERVIEW_FILE": str(other)}})
    with pytest.raises(CorruptImageError, match="names no other file"):
        magnet.open_raster(path)


def test_other_formats_are_not_opened_by_gdal(tmp_path: Path) -> None:
    vrt = tmp_path / "x.tif"
    vrt.write_text("<VRTDataset rasterXSize='5' rasterYSize='5'></VRTDataset>")
    with pytest.raises(CorruptImageError, match="is a VRT, which names other files and is not followed; write them"):
        magnet.open_raster(vrt)
    for name in ("/vsicurl/http://localhost/x.tif", "zip://x.zip!x.tif", "GTIFF_DIR:1:x.tif", "s3://a/x.tif"):
        with pytest.raises(MagNetError, match="does not exist"):
            magnet.open_raster(name)


def test_a_compression_that_is_not_known(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(16, 16), compress="deflate")
    content = bytearray(path.read_bytes())
    at = content.index(b"\x03\x01\x03\x00\x01\x00\x00\x00\x08\x00")
    content[at + 8 : at + 10] = b"\x45\x88"  # 34885
    path.write_bytes(content)
    with pytest.raises(CorruptImageError, match="a compression that GDAL decodes"):
        magnet.open_raster(path)


def test_a_strip_of_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnet.images.rasters.geo._MOST_BYTES", 64 * 64 * 3)
    with magnet.open_raster(write_tiff(tmp_path / "x.tif", noise(100, 100))) as raster:
        whole(raster)
    with pytest.raises(CorruptImageError, match="strips or tiles of at most"):
        magnet.open_raster(write_tiff(tmp_path / "y.tif", noise(100, 100), blockysize=128))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptImageError, match="complex64"):
        magnet.open_raster(write_tiff(tmp_path / "x.tif", np.ones((8, 8, 1), np.complex64)))
