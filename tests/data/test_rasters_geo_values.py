"""What pixels of a GeoTIFF hold: masks, nodata, palettes, names of bands, and how large they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_files import at, noise, whole, write_tiff
from rasterio.warp import transform
from tiff_files import write_strips

import magnet
from magnet.images.rasters.resolution import degree_lengths
from magnet.notices import gathered

pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the rasterio that writes

UTM = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def test_a_cog_with_a_mask(tmp_path: Path) -> None:
    mask = np.random.default_rng(3).random((300, 260)) < 0.7
    plain = write_tiff(tmp_path / "y.tif", noise(300, 260), mask=mask, options={"GDAL_TIFF_INTERNAL_MASK": "YES"})
    import rasterio.shutil

    rasterio.shutil.copy(plain, tmp_path / "x.tif", driver="COG", BLOCKSIZE=128, OVERVIEW_RESAMPLING="NEAREST")
    with magnet.open_raster(tmp_path / "x.tif") as raster:
        assert raster.levels == ((300, 260), (150, 130), (75, 65))
        np.testing.assert_array_equal(whole(raster)[1], mask)
        assert 0.5 < whole(raster, 2)[1].mean() < 0.9


@pytest.mark.parametrize("internal", [True, False])
def test_masks(tmp_path: Path, internal: bool) -> None:
    pixels = noise(200, 260)
    mask = np.random.default_rng(3).random((200, 260)) < 0.7
    options = {"GDAL_TIFF_INTERNAL_MASK": "YES" if internal else "NO"}
    path = write_tiff(tmp_path / "x.tif", pixels, mask=mask, options=options, overviews=[2])
    assert (tmp_path / "x.tif.msk").exists() != internal
    with magnet.open_raster(path) as raster:
        assert raster.channels == 3
        got, valid = raster.read_level(0, (7, 0, 260, 199))
        np.testing.assert_array_equal(got, pixels[:199, 7:])
        np.testing.assert_array_equal(valid, mask[:199, 7:])
        if internal or len(raster.levels) > 1:
            assert raster.levels == ((200, 260), (100, 130))
            np.testing.assert_array_equal(whole(raster, 1)[1], mask[::2, ::2])


def test_alpha_is_validity(tmp_path: Path) -> None:
    pixels = noise(100, 90, 4)
    pixels[..., 3] = np.where(pixels[..., 3] < 60, 0, pixels[..., 3])
    path = write_tiff(tmp_path / "x.tif", pixels, photometric="RGB", colours=["red", "green", "blue", "alpha"])
    with magnet.open_raster(path) as raster:
        assert (raster.channels, raster.colours) == (3, ("red", "green", "blue"))
        got, valid = whole(raster)
        np.testing.assert_array_equal(got, pixels[..., :3])
        np.testing.assert_array_equal(valid, pixels[..., 3] > 0)


def test_nodata_is_no_value(tmp_path: Path) -> None:
    """It used to be taken for data. Of unsigned values it must be in all bands, of others one is enough."""
    for dtype, nodata, rule in ((np.uint8, 0, np.all), (np.int16, -9999, np.any), (np.float32, -9999.5, np.any)):
        pixels = noise(64, 64, 2, dtype)
        pixels[pixels == nodata] = 1
        rng = np.random.default_rng(1)
        pixels[rng.random(pixels.shape) < 0.4] = nodata
        with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels, nodata=nodata)) as raster:
            assert raster.nodata == nodata
            got, valid = whole(raster)
            np.testing.assert_array_equal(got, pixels)
            np.testing.assert_array_equal(valid, ~rule(pixels == nodata, axis=2))
            assert 0 < valid.mean() < 1


def test_nodata_that_no_pixel_can_have(tmp_path: Path) -> None:
    """As -9999 of bytes, which must not become 241."""
    import tifffile

    pixels = noise(64, 64, 1)[..., 0]
    assert (pixels == 241).any()
    for text in ("-9999", "0.5", "300"):
        tifffile.imwrite(tmp_path / "x.tif", pixels, extratags=[(42113, "s", 0, text, True)])
        with magnet.open_raster(tmp_path / "x.tif") as raster:
            assert raster.nodata is None and whole(raster)[1].all()
    pixels = pixels.astype(np.float32)
    pixels[3, 4] = np.float32(0.1)
    tifffile.imwrite(tmp_path / "x.tif", pixels, extratags=[(42113, "s", 0, "0.1", True)])
    with magnet.open_raster(tmp_path / "x.tif") as raster:
        assert np.argwhere(~whole(raster)[1]).tolist() == [[3, 4]]


def test_nan_and_nan_as_nodata(tmp_path: Path) -> None:
    pixels = noise(64, 64, 1, np.float32)
    pixels[5:9, 3:6] = np.nan
    for nodata in (None, np.nan):
        with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels, nodata=nodata)) as raster:
            valid = whole(raster)[1]
            np.testing.assert_array_equal(valid, ~np.isnan(pixels[..., 0]))
            small = raster.read((0, 0, 64, 64), (32, 32))[0]
            assert np.isfinite(small).all()


def test_palettes_are_colours(tmp_path: Path) -> None:
    numbers = noise(64, 80, 1) % 5
    table = {0: (0, 0, 0, 255), 1: (255, 0, 7, 255), 2: (3, 200, 0, 255), 3: (9, 9, 99, 255), 4: (50, 60, 70, 255)}
    path = write_tiff(tmp_path / "x.tif", numbers, palette=table, photometric="palette", nodata=3)
    with magnet.open_raster(path) as raster:
        assert (raster.channels, raster.dtype, raster.colours) == (3, np.uint8, ("red", "green", "blue"))
        got, valid = whole(raster)
        np.testing.assert_array_equal(got, np.array([table[i][:3] for i in range(5)], np.uint8)[numbers[..., 0]])
        np.testing.assert_array_equal(valid, numbers[..., 0] != 3)


def test_few_bits_have_limits_and_white_may_be_zero(tmp_path: Path) -> None:
    four = noise(32, 48, 1) % 16
    with magnet.open_raster(write_tiff(tmp_path / "4.tif", four, nbits=4)) as raster:
        assert raster.limits == (0, 15)
        np.testing.assert_array_equal(whole(raster)[0], four)
    twelve = noise(32, 48, 1, np.uint16) % 4096
    with magnet.open_raster(write_tiff(tmp_path / "12.tif", twelve, nbits=12)) as raster:
        assert raster.limits == (0, 4095)
    one = noise(32, 48, 1) % 2
    with magnet.open_raster(write_tiff(tmp_path / "1.tif", one, nbits=1)) as raster:
        np.testing.assert_array_equal(whole(raster)[0], np.repeat(one * 255, 3, axis=2))
    white = noise(32, 48, 1)
    with magnet.open_raster(write_tiff(tmp_path / "w.tif", white, photometric="miniswhite", nodata=9)) as raster:
        got, valid = whole(raster)
        np.testing.assert_array_equal(got, 255 - white)
        np.testing.assert_array_equal(valid, white[..., 0] != 9)
        assert raster.nodata == 246
    deep = noise(32, 48, 1, np.uint16)
    with magnet.open_raster(write_tiff(tmp_path / "d.tif", deep, photometric="miniswhite")) as raster:
        np.testing.assert_array_equal(whole(raster)[0], 65535 - deep)  # not the bytes of the palette that GDAL makes
    write_strips(tmp_path / "l.tif", noise(8, 8, 1, np.uint16), tags={280: [100], 281: [3000]})
    with magnet.open_raster(tmp_path / "l.tif") as raster:
        assert raster.limits == (100, 3000)


def test_names_of_bands(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(16, 16, 4), photometric="RGB", ALPHA="NO")
    with magnet.open_raster(path) as raster:
        assert raster.colours == ("red", "green", "blue", "undefined")
    path = write_tiff(tmp_path / "y.tif", noise(16, 16, 4), descriptions=("Blue", "Green", "Red", "NIR"))
    with magnet.open_raster(path) as raster:
        assert raster.colours == ("blue", "green", "red", "nir")


def test_resolutions(tmp_path: Path) -> None:
    def of(crs: str | None, *transform: float) -> Any:
        with magnet.open_raster(
            write_tiff(tmp_path / "x.tif", noise(32, 64), crs=crs, transform=at(*transform) if transform else None)
        ) as raster:
            return raster.resolution, raster.place

    assert of(None) == (None, None)
    assert of(None, *UTM) == (None, (None, UTM))  # of which unit is not known
    assert of("EPSG:32632", *UTM)[0] == (0.5, "m")
    turned = (0.3, 0.4, 500000.0, 0.4, -0.3, 5000000.0)
    assert of("EPSG:32632", *turned)[0].value == pytest.approx(0.5)
    feet = of("EPSG:2264", 1, 0, 2000000, 0, -1, 600000)[0]
    assert feet[0] == pytest.approx(0.3048006, rel=1e-6)
    # a degree of longitude is shorter than one of latitude: square on the ground, not in degrees
    north, east = degree_lengths(60.0)
    assert (north, east) == pytest.approx((111412.3, 55800.0), rel=1e-5)
    square = of("EPSG:4326", 1 / east, 0, 10, 0, -1 / north, 60 + 16 / north)[0]
    assert square.value == pytest.approx(1.0, rel=1e-4)
    # metres of the web's map are those of the equator
    y = 6378137 * math.asinh(math.tan(math.radians(60)))
    assert of("EPSG:3857", 2, 0, 0, 0, -2, y + 32)[0].value == pytest.approx(1.0, rel=1e-4)
    # and so are Mercator's own, which used to be taken for metres on the ground
    _, (y,) = transform("EPSG:4326", "EPSG:3395", [0], [60])
    stretched = 0.5 / math.sqrt(1 - 0.0066943799901 * 0.75)  # cos(60 degrees) on the ellipsoid
    assert of("EPSG:3395", 2, 0, 0, 0, -2, y + 32)[0].value == pytest.approx(2 * stretched, rel=1e-4)
    with gathered() as notices:
        assert of("EPSG:4087", 1, 0, 0, 0, -1, 6679170)[0] is None  # half as wide as high at 60 degrees
        assert of("EPSG:32632", 0.5, 0, 0, 0, -0.51, 0)[0] is None
        assert of("EPSG:32632", 0.5, 0, 0, 0, -0.503, 0)[0].value == pytest.approx(math.sqrt(0.5 * 0.503))
        assert of("EPSG:4326", 1e-5, 0, 10, 0, -1e-5, 60)[0] is None
    assert not notices  # nobody asked for a resolution yet
