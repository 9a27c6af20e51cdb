"""TIFF, GeoTIFF, COG and JPEG 2000 by rasterio, against the arrays that were written."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raster_files import at, levels_of_file, noise, read_in_threads, smooth, whole, write_tiff
from tiff_files import write_strips

import magnet
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError

pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the rasterio that writes

UTM = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


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


def test_cmyk_and_turned_tiffs_are_pictures(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30)).convert("CMYK").save(tmp_path / "c.tif")
    with magnet.open_raster(tmp_path / "c.tif") as raster:
        np.testing.assert_array_equal(whole(raster)[0], np.asarray(Image.open(tmp_path / "c.tif").convert("RGB")))
    pixels = noise(20, 30)
    write_strips(tmp_path / "t.tif", pixels, tags={274: [6]})
    with magnet.open_raster(tmp_path / "t.tif") as raster:
        np.testing.assert_array_equal(whole(raster)[0], np.rot90(pixels, -1))


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
