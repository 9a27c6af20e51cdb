"""Whole slides by OpenSlide, against the arrays that were written."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raster_files import noise, read_in_threads, smooth, write_slide, write_tiff

import magnet
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError
from magnet.images.rasters.geo import GeoRaster
from magnet.images.rasters.slides import SlideRaster
from magnet.notices import gathered

pytest.importorskip("openslide")


@pytest.mark.parametrize("name", ["x.svs", "x.tif"])
def test_a_slide(tmp_path: Path, name: str) -> None:
    fine = noise(1024, 768)
    levels = [fine, fine[::4, ::4], fine[::16, ::16]]
    with magnet.open_raster(write_slide(tmp_path / name, levels)) as raster:
        assert isinstance(raster, SlideRaster)  # by what is in it, not by its name
        assert raster.levels == ((1024, 768), (256, 192), (64, 48))
        assert (raster.channels, raster.dtype, raster.colours) == (3, np.uint8, ("red", "green", "blue"))
        assert raster.resolution == (0.499, "um") and raster.place is None and raster.nodata is None
        for i, one in enumerate(levels):
            height, width = one.shape[:2]
            got, valid = raster.read_level(i, (5, 7, width, height - 1))
            np.testing.assert_array_equal(got, one[7:-1, 5:])
            assert valid.all()
        got, _ = raster.read((128, 256, 640, 512), (64, 128))
        np.testing.assert_array_equal(got, levels[1][64:128, 32:160])


def test_only_tiles_that_are_touched_are_decoded(tmp_path: Path) -> None:
    fine = noise(1024, 1024)
    with magnet.open_raster(write_slide(tmp_path / "x.svs", [fine, fine[::4, ::4]])) as raster:
        raster.read_level(0, (128, 0, 256, 128))
        assert dict(raster.tiles_read) == {0: 1}
        raster.read_level(0, (127, 127, 257, 129))
        assert dict(raster.tiles_read) == {0: 6}
        raster.read((0, 0, 512, 512), (128, 128))
        assert dict(raster.tiles_read) == {0: 6, 1: 1}


def test_levels_whose_sides_are_rounded_stay_where_they_are(tmp_path: Path) -> None:
    """OpenSlide interpolates there, by less than a pixel of the finest level."""
    fine = smooth(2003, 1501)
    levels = [fine, np.ascontiguousarray(fine[:2000:4, :1500:4]), np.ascontiguousarray(fine[:1984:32, :1472:32])]
    with magnet.open_raster(write_slide(tmp_path / "x.svs", levels)) as raster:
        assert raster.factors == ((1, 1), (4, 4), (32, 32))
        for i in (1, 2):
            height, width = raster.levels[i]
            got, _ = raster.read_level(i, (0, 0, width, height))
            step = np.abs(np.diff(levels[i].astype(int), axis=1)).max()
            # half a pixel of the finest level is an eighth of a pixel of the second, a 64th of the third
            assert np.abs(got[:-1, :-1].astype(int) - levels[i][:-1, :-1]).max() <= step / (1.5 * 4**i) + 2


def test_jpeg_tiles_and_a_slide_without_a_resolution(tmp_path: Path) -> None:
    fine = smooth(512, 512)
    path = write_slide(tmp_path / "x.svs", [fine], compression="jpeg", mpp="")
    with magnet.open_raster(path) as raster:
        assert raster.resolution is None
        got, valid = raster.read_level(0, (0, 0, 512, 512))
        assert valid.all() and np.abs(got.astype(int) - fine).mean() < 4


def test_a_page_of_a_slide_is_read_by_its_number(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    path = write_slide(tmp_path / "x.svs", [noise(256, 256), noise(64, 64)])
    with gathered(), magnet.open_raster(path, page=1) as raster:
        np.testing.assert_array_equal(raster.read_level(0, (0, 0, 50, 40))[0], noise(40, 50))


def test_a_tiled_tiff_of_no_scanner_is_no_slide(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    with magnet.open_raster(
        write_tiff(tmp_path / "x.tif", noise(100, 100), tiled=True, blockxsize=64, blockysize=64)
    ) as raster:
        assert isinstance(raster, GeoRaster)


def test_what_only_begins_like_a_slide_is_read_as_what_it_is(tmp_path: Path) -> None:
    Image.fromarray(noise(40, 50)).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "x.mrxs")  # without the folder of its tiles
    with magnet.open_raster(tmp_path / "x.mrxs") as raster:
        assert raster.size == (40, 50)


def _damage(path: Path, start: int) -> None:
    content = bytearray(path.read_bytes())
    content[start : start + 300] = b"\x13" * 300
    path.write_bytes(content)


@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_damaged_tiles_and_files_that_are_cut_short(tmp_path: Path, compression: str) -> None:
    import tifffile

    path = write_slide(tmp_path / "x.svs", [noise(512, 512)], compression=compression)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[5]  # type: ignore[union-attr]
    _damage(path, start)
    with magnet.open_raster(path) as raster:
        raster.read_level(0, (0, 0, 128, 128))
        with pytest.raises(CorruptImageError, match=r"x\.svs"):
            raster.read_level(0, (0, 0, 512, 512))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptImageError, match=r"x\.svs"), magnet.open_raster(path) as raster:
        raster.read_level(0, (0, 0, 512, 512))


def test_threads_and_forked_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr("magnet.images.rasters.tiles._CACHE_BYTES", 1)
    fine = noise(512, 512)
    with magnet.open_raster(write_slide(tmp_path / "x.svs", [fine])) as raster:
        read_in_threads(raster, fine, 100)
        # both processes read at once
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_read_all, args=(raster, fine, 8))
        process.start()
        _read_all(raster, fine, 8)
        process.join(60)
        assert process.exitcode == 0


def _read_all(raster: Any, fine: np.ndarray, times: int) -> None:
    for _ in range(times):
        assert (raster.read_level(0, (0, 0, 512, 512))[0] == fine).all()


def test_what_was_not_scanned_is_invalid(tmp_path: Path) -> None:
    import tifffile

    tile = noise(128, 128)
    with tifffile.TiffWriter(tmp_path / "x.svs") as file:
        file.write(
            iter([tile.tobytes(), b"", b"", tile.tobytes()]),
            shape=(256, 256, 3),
            dtype="u1",
            photometric="rgb",
            tile=(128, 128),
            compression=None,
            metadata=None,
            description="Aperio Image Library v11 \r\n256x256|AppMag = 20|MPP = 0.5",
        )
    with magnet.open_raster(tmp_path / "x.svs") as raster:
        assert isinstance(raster, SlideRaster)
        got, valid = raster.read_level(0, (0, 0, 256, 256))
    wanted = np.zeros((256, 256), bool)
    wanted[:128, :128] = wanted[128:, 128:] = True
    np.testing.assert_array_equal(valid, wanted)
    np.testing.assert_array_equal(got[128:, 128:], tile)
    assert not got[~valid].any()


def test_without_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "openslide":
            raise ImportError("No module named 'openslide'")
        return real(name, *rest, **more)

    slides = [write_slide(tmp_path / name, [noise(256, 256)]) for name in ("x.svs", "x.tif")]
    plain = write_tiff(tmp_path / "y.tif", noise(64, 64))
    monkeypatch.setattr(builtins, "__import__", without)
    for path in slides:
        with pytest.raises(MagNetError, match=r"pip install .* openslide-bin \(the extra \[slides\]\)"):
            magnet.open_raster(path)
    with magnet.open_raster(plain) as raster:
        assert raster.size == (64, 64)
