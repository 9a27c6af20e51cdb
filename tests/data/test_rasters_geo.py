"""TIFF, GeoTIFF, COG and JPEG 2000 by rasterio, against the arrays that were written."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raster_files import levels_of_file, noise, read_in_threads, smooth, write_tiff
from tiff_files import write_strips

import magnet
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.resolution import degree_lengths
from magnet.notices import gathered

pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the rasterio that writes

UTM = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def whole(raster: Raster, level: int = 0) -> tuple[np.ndarray, np.ndarray]:
    height, width = raster.levels[level]
    return raster.read_level(level, (0, 0, width, height))


def at(*values: float) -> Any:
    from affine import Affine

    return Affine(*values)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("bands", [1, 3, 4, 7])
def test_all_bands_in_their_own_type(tmp_path: Path, dtype: type, bands: int) -> None:
    """Bands used to be left out, 16 bits to be darkened, and floats to be called corrupt."""
    pixels = noise(100, 130, bands, dtype)
    with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels, compress="deflate")) as raster:
        assert (raster.size, raster.channels, raster.dtype) == ((100, 130), bands, np.dtype(dtype))
        got, valid = raster.read_level(0, (60, 3, 129, 99))
        assert got.dtype == dtype and valid.all()
        np.testing.assert_array_equal(got, pixels[3:99, 60:129])


@pytest.mark.parametrize("options", [{"BIGTIFF": "YES"}, {"interleave": "band"}, {"tiled": False}, {"predictor": 2}])
@pytest.mark.parametrize("compress", ["none", "lzw", "zstd", "packbits"])
def test_layouts(tmp_path: Path, compress: str, options: dict[str, Any]) -> None:
    if "predictor" in options and compress in ("none", "packbits"):
        options = {}
    pixels = noise(90, 150, 3, np.uint16)
    with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels, compress=compress, **options)) as raster:
        np.testing.assert_array_equal(raster.read_level(0, (1, 2, 149, 89))[0], pixels[2:89, 1:149])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_byte_orders(tmp_path: Path, order: Any, big: bool) -> None:
    import tifffile

    pixels = noise(40, 50, 3, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", byteorder=order, bigtiff=big)
    with magnet.open_raster(tmp_path / "x.tif") as raster:
        np.testing.assert_array_equal(whole(raster)[0], pixels)


def test_a_cog(tmp_path: Path) -> None:
    pixels = noise(1001, 1203, 4, np.uint16)
    path = write_tiff(
        tmp_path / "x.tif", pixels, driver="COG", blocksize=128, crs="EPSG:32632", transform=at(*UTM), nodata=0
    )
    stored = levels_of_file(path)
    assert len(stored) == 5
    with magnet.open_raster(path) as raster:
        assert raster.levels == tuple(one.shape[:2] for one in stored)
        assert raster.factors == tuple((2.0**i, 2.0**i) for i in range(5))
        assert raster.resolution is not None
        assert raster.resolution == (0.5, "m") and raster.resolution.unit == "m"
        assert raster.place is not None and raster.place.crs is not None
        assert "UTM zone 32N" in raster.place.crs and raster.place.transform == UTM
        assert raster.nodata == 0
        for i, one in enumerate(stored):
            np.testing.assert_array_equal(whole(raster, i)[0], one)


def test_only_tiles_that_are_touched_are_decoded(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(640, 640), overviews=[2, 4])
    with magnet.open_raster(path) as raster:
        assert dict(raster.tiles_read) == {}
        raster.read_level(0, (64, 128, 128, 192))
        assert dict(raster.tiles_read) == {0: 1}
        raster.read_level(0, (63, 127, 129, 193))
        assert dict(raster.tiles_read) == {0: 9}  # one of them is kept
        raster.read((128, 128, 384, 384), (64, 64))  # level 2, of 160x160
        assert dict(raster.tiles_read) == {0: 9, 2: 4}
        raster.read((128, 128, 384, 384), (128, 128))  # level 1, pixels 64..192
        assert dict(raster.tiles_read) == {0: 9, 2: 4, 1: 4}


def test_tiles_that_are_kept_take_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnet.images.rasters.tiles._CACHE_BYTES", 3 * 64 * 64 * 3)
    pixels = noise(640, 640)
    with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels)) as raster:
        for _ in range(2):
            np.testing.assert_array_equal(whole(raster)[0], pixels)
        assert raster.tiles_read[0] == 200
        assert len(raster._kept) == 3  # type: ignore[attr-defined]


def test_external_overviews(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", smooth(500, 301), overviews=[2, 4], resampling="average", external=True)
    assert (tmp_path / "x.tif.ovr").exists()
    stored = levels_of_file(path)
    with magnet.open_raster(path) as raster:
        assert raster.levels == ((500, 301), (250, 151), (125, 76))
        for i, one in enumerate(stored):
            np.testing.assert_array_equal(whole(raster, i)[0], one)


def test_overviews_of_another_image_are_no_levels(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(500, 301))
    for other in (noise(600, 700), noise(100, 200), noise(250, 151, 4), noise(250, 151, 3, np.uint16)):
        write_tiff(tmp_path / "x.tif.ovr", other)
        with magnet.open_raster(path) as raster:
            assert raster.levels == ((500, 301),)
    write_tiff(tmp_path / "x.tif.ovr", noise(250, 151))
    with magnet.open_raster(path) as raster:
        assert raster.levels == ((500, 301), (250, 151))


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
    with gathered() as notices:
        assert of("EPSG:32632", 0.5, 0, 0, 0, -0.51, 0)[0] is None
        assert of("EPSG:32632", 0.5, 0, 0, 0, -0.503, 0)[0].value == pytest.approx(math.sqrt(0.5 * 0.503))
        assert of("EPSG:4326", 1e-5, 0, 10, 0, -1e-5, 60)[0] is None
    assert ["not square" in str(one) for one in notices] == [True, True]


def test_a_world_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(8, 8))
    (tmp_path / "x.tfw").write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    with magnet.open_raster(path) as raster:
        assert raster.place == (None, UTM)
    (tmp_path / "x.tfw").write_text("0.5 0 0 -0.5 500000.25")
    with pytest.raises(MagNetError, match="six numbers in the world file"):
        magnet.open_raster(path)


# ---- pages


def stack(path: Path, *pages: np.ndarray, **options: Any) -> Path:
    import tifffile

    with tifffile.TiffWriter(path) as file:
        for one in pages:
            file.write(one, photometric="rgb" if one.ndim == 3 else "minisblack", metadata=None, **options)
    return path


def test_stacks_ask_for_a_page(tmp_path: Path) -> None:
    """Only the first page used to be read."""
    pages = [noise(40, 50, seed=i) for i in range(3)]
    path = stack(tmp_path / "x.tif", *pages)
    with pytest.raises(MagNetError, match=r"has 3 pages of 40x50 .*page=N \(--page N\), 0 to 2"):
        magnet.open_raster(path)
    for i in range(3):
        with magnet.open_raster(path, page=i) as raster:
            np.testing.assert_array_equal(whole(raster)[0], pages[i])
    for wrong in (3, -1):
        with pytest.raises(MagNetError, match="page: expected 0 to 2"):
            magnet.open_raster(path, page=wrong)


def test_planes_of_one_page_are_not_read_as_the_first_of_them(tmp_path: Path) -> None:
    import tifffile

    volume = noise(64, 192).reshape(64, 3, 64, 3).swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "x.tif", volume, photometric="rgb", volumetric=True, tile=(1, 64, 64))
    with pytest.raises(MagNetError, match="several planes of 64x64"):
        magnet.open_raster(tmp_path / "x.tif")


def test_the_largest_page_is_read(tmp_path: Path) -> None:
    small, large, other = noise(33, 20), noise(300, 200), noise(20, 70)
    path = stack(tmp_path / "x.tif", small, large, other)
    with gathered() as notices, magnet.open_raster(path) as raster:
        assert raster.levels == ((300, 200),)
        np.testing.assert_array_equal(whole(raster)[0], large)
    assert "2 smaller pages" in str(notices[0])
    with magnet.open_raster(path, page=2) as raster:
        np.testing.assert_array_equal(whole(raster)[0], other)


def test_reduced_pages_are_levels(tmp_path: Path) -> None:
    import tifffile

    levels = [smooth(513, 301), smooth(513, 301)[::2, ::2], smooth(513, 301)[::4, ::4]]
    for below in (True, False):
        path = tmp_path / f"{below}.tif"
        with tifffile.TiffWriter(path, bigtiff=below) as file:
            shared: dict[str, Any] = {
                "photometric": "rgb",
                "tile": (64, 64),
                "compression": "deflate",
                "metadata": None,
            }
            file.write(levels[0], subifds=2 if below else None, **shared)
            for one in levels[1:]:
                file.write(one, subfiletype=1, **shared)
        with magnet.open_raster(path) as raster:
            assert raster.levels == ((513, 301), (257, 151), (129, 76))
            assert raster.factors == ((1, 1), (2, 2), (4, 4))
            for i, one in enumerate(levels):
                np.testing.assert_array_equal(whole(raster, i)[0], one)


def test_unmarked_tiled_pages_of_whole_factors_are_levels(tmp_path: Path) -> None:
    picture = smooth(512, 256)
    path = stack(tmp_path / "x.tif", picture, picture[::2, ::2], picture[::8, ::8], tile=(64, 64))
    with magnet.open_raster(path) as raster:
        assert raster.levels == ((512, 256), (256, 128), (64, 32))
        np.testing.assert_array_equal(whole(raster, 2)[0], picture[::8, ::8])
    with gathered(), magnet.open_raster(stack(tmp_path / "y.tif", picture, picture[::2, ::2])) as raster:
        assert raster.levels == ((512, 256),)  # strips: a second picture


def test_levels_belong_to_their_page(tmp_path: Path) -> None:
    import tifffile

    first, second = smooth(128, 128), noise(128, 128)
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        for one in (first, second):
            file.write(one, photometric="rgb", tile=(64, 64), metadata=None)
            file.write(one[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1, metadata=None)
    for page, picture in ((0, first), (2, second)):
        with magnet.open_raster(path, page=page) as raster:
            np.testing.assert_array_equal(whole(raster, 1)[0], picture[::2, ::2])


# ---- resizing, threads


@given(data=st.data())
def test_boxes_and_sizes_against_the_levels(pyramid: tuple[Path, list[np.ndarray]], data: st.DataObject) -> None:
    path, stored = pyramid
    with magnet.open_raster(path) as raster:
        x0, y0 = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 380))
        x1, y1 = data.draw(st.integers(x0 + 1, 301)), data.draw(st.integers(y0 + 1, 400))
        size = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
        got, valid = raster.read((x0, y0, x1, y1), size)
        level = max(i for i in range(3) if (size[0] * 2**i <= y1 - y0 and size[1] * 2**i <= x1 - x0) or i == 0)
        assert set(raster.tiles_read) == {level}
        one = stored[level]
        # Pillow's filter has the same taps; it rounds in another way
        box = (x0 / 2**level, y0 / 2**level, min(x1 / 2**level, one.shape[1]), min(y1 / 2**level, one.shape[0]))
        pillow = Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
        assert valid.all()
        assert np.abs(got.astype(int) - np.asarray(pillow)).max() <= 2


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    path = write_tiff(tmp_path_factory.mktemp("x") / "x.tif", smooth(400, 301), overviews=[2, 4], resampling="average")
    return path, levels_of_file(path)


def test_threads_read_one_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnet.images.rasters.tiles._CACHE_BYTES", 1)  # all decode all the time
    pixels = noise(512, 512, 3, np.uint16)
    path = write_tiff(tmp_path / "x.tif", pixels, compress="deflate")
    with magnet.open_raster(path) as raster:
        read_in_threads(raster, pixels, 100, threads=6)


def test_a_forked_process_reads_on(tmp_path: Path) -> None:
    import multiprocessing

    pixels = noise(256, 256)
    with magnet.open_raster(write_tiff(tmp_path / "x.tif", pixels, compress="deflate")) as raster:
        raster.read_level(0, (0, 0, 10, 10))
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=lambda: queue.put(raster.read_level(0, (64, 64, 256, 256))[0].tobytes()))
        process.start()
        assert queue.get(timeout=30) == pixels[64:, 64:].tobytes()
        process.join(30)
        np.testing.assert_array_equal(whole(raster)[0], pixels)


# ---- damage


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
    with pytest.raises(CorruptImageError, match="its content is none of"):
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


# ---- colours that are converted


def test_cmyk_and_turned_tiffs_are_pictures(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30)).convert("CMYK").save(tmp_path / "c.tif")
    with magnet.open_raster(tmp_path / "c.tif") as raster:
        np.testing.assert_array_equal(whole(raster)[0], np.asarray(Image.open(tmp_path / "c.tif").convert("RGB")))
    pixels = noise(20, 30)
    write_strips(tmp_path / "t.tif", pixels, tags={274: [6]})
    with magnet.open_raster(tmp_path / "t.tif") as raster:
        np.testing.assert_array_equal(whole(raster)[0], np.rot90(pixels, -1))


# ---- JPEG 2000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_2000(tmp_path: Path, dtype: type) -> None:
    pixels = noise(600, 700, 3, dtype)
    path = write_tiff(
        tmp_path / "x.jp2", pixels, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", BLOCKXSIZE=256, BLOCKYSIZE=256,
        crs="EPSG:32632", transform=at(*UTM),
    )  # fmt: skip
    with magnet.open_raster(path) as raster:
        assert (raster.size, raster.dtype, raster.resolution) == ((600, 700), dtype, (0.5, "m"))
        np.testing.assert_array_equal(raster.read_level(0, (10, 20, 270, 256))[0], pixels[20:256, 10:270])
        assert dict(raster.tiles_read) == {0: 1}  # of 256 rows
        assert [size for size in raster.levels[1:2]] == [(300, 350)]
    path.write_bytes(path.read_bytes()[:40000])
    with pytest.raises(CorruptImageError, match=r"x\.jp2"), magnet.open_raster(path) as raster:
        whole(raster)


# ---- without rasterio


@pytest.fixture
def no_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "rasterio":
            raise ImportError("No module named 'rasterio'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)


def test_without_rasterio(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pixels = noise(100, 90)
    plain = write_tiff(tmp_path / "plain.tif", pixels)
    others = [
        write_tiff(tmp_path / "geo.tif", pixels, crs="EPSG:32632", transform=at(*UTM)),
        write_tiff(tmp_path / "levels.tif", pixels, overviews=[2]),
        write_tiff(tmp_path / "x.jp2", pixels, driver="JP2OpenJPEG"),
    ]
    request.getfixturevalue("no_rasterio")
    with magnet.open_raster(plain) as raster:
        np.testing.assert_array_equal(whole(raster)[0], pixels)
    for path in others:
        with pytest.raises(MagNetError, match=r"pip install 'rasterio>=1.4' \(the extra \[geo\]\)"):
            magnet.open_raster(path)
