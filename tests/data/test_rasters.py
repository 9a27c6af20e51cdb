"""Rasters of arrays: levels, windows, resizing by the definition, parts that are what a crop of the whole is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import environment_of_a_program
from PIL import Image
from raster_files import noise, plain_resize, read_in_threads

import magnet
from magnet.errors import MagNetError
from magnet.extras import PACKAGES
from magnet.images.rasters.levels import choose_level, level_factor
from magnet.images.rasters.raster import Box, Raster

TYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.uint64, np.float32, np.float64)


class Levels(Raster):
    """Levels given as arrays; counts which are asked for."""

    def __init__(self, arrays: list[np.ndarray], valid: list[np.ndarray] | None = None) -> None:
        self.arrays = arrays
        self.valid = valid or [np.ones(one.shape[:2], bool) for one in arrays]
        self.asked: list[tuple[int, Box]] = []
        first = arrays[0]
        super().__init__("levels", tuple(one.shape[:2] for one in arrays), first.shape[2], first.dtype)  # type: ignore[misc]

    def _window(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((level, box))
        x0, y0, x1, y1 = box
        return self.arrays[level][y0:y1, x0:x1], self.valid[level][y0:y1, x0:x1]


@pytest.mark.parametrize("dtype", TYPES)
def test_windows_of_an_array_are_its_pixels(dtype: type) -> None:
    pixels = noise(50, 70, 4, dtype)
    with magnet.open_raster(pixels) as raster:
        assert (raster.size, raster.channels, raster.dtype) == ((50, 70), 4, np.dtype(dtype))
        assert raster.levels == ((50, 70),)
        assert (raster.resolution, raster.place, raster.nodata) == (None, None, None)
        window, valid = raster.read_level(0, (3, 5, 66, 41))
        assert window.dtype == dtype and valid.all() and valid.shape == (36, 63)
        np.testing.assert_array_equal(window, pixels[5:41, 3:66])
        whole, _ = raster.read((0, 0, 70, 50), (50, 70))  # 64-bit integers too, which no float holds
        np.testing.assert_array_equal(whole, pixels)
        assert whole.dtype == dtype


def test_grey_arrays_files_and_byte_orders(tmp_path: Path) -> None:
    pixels = noise(20, 30, 1, np.int16)[..., 0]
    np.save(tmp_path / "x.npy", pixels.astype(">i2"))
    for source in (pixels, tmp_path / "x.npy", str(tmp_path / "x.npy"), np.load(tmp_path / "x.npy", mmap_mode="r")):
        with magnet.open_raster(source) as raster:
            assert raster.channels == 1 and raster.dtype == np.dtype("=i2")
            np.testing.assert_array_equal(raster.read_level(0, (2, 1, 29, 20))[0][..., 0], pixels[1:20, 2:29])


def test_numbers_that_are_none_are_invalid() -> None:
    pixels = noise(9, 9, 2, np.float32)
    pixels[4, 3, 1], pixels[2, 2, 0] = np.nan, -np.inf
    with magnet.open_raster(pixels) as raster:
        window, valid = raster.read_level(0, (0, 0, 9, 9))
        np.testing.assert_array_equal(window, pixels)
        assert np.argwhere(~valid).tolist() == [[2, 2], [4, 3]]
        small, valid = raster.read((0, 0, 9, 9), (3, 3))
        assert np.isfinite(small).all()
        assert valid.sum() == 9  # the centres are others


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        (np.zeros((4, 4), complex), ValueError, "complex128"),
        (np.zeros((4, 4), bool), ValueError, "bool"),
        (np.zeros((4, 4), object), ValueError, "object"),
        (np.zeros(4), ValueError, r"\(4,\)"),
        (np.zeros((0, 4)), ValueError, r"\(0, 4\)"),
        (np.zeros((1, 4, 4, 3)), ValueError, r"\(1, 4, 4, 3\)"),
        (np.zeros((3, 40, 50)), ValueError, "moveaxis"),
        (np.zeros((40, 50, 2000)), ValueError, "moveaxis"),
        (7, TypeError, "int"),
    ],
)
def test_what_is_no_raster_is_refused(source: object, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        magnet.open_raster(source)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="page: expected None, as an array"):
        magnet.open_raster(np.zeros((4, 4)), page=0)
    with pytest.raises(TypeError, match="page: expected an int"):
        magnet.open_raster(np.zeros((4, 4)), page="1")  # type: ignore[arg-type]
    with magnet.open_raster(np.zeros((4, 6))) as raster:
        for box in ((0, 0, 7, 4), (2, 0, 2, 4), (-1, 0, 2, 4), (0.5, 0, 2, 4), (0, 0, 4), None, (0, 0, np.nan, 4)):
            with pytest.raises(ValueError, match="box: expected"):
                raster.read_level(0, box)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="level: expected 0 to 0, got 1"):
            raster.read_level(1, (0, 0, 1, 1))
        for box in ((6, 0, 8, 4), (-3, 0, 0, 4), (2, 0, 2, 4), (0, 0, np.inf, 4)):
            with pytest.raises(ValueError, match="box: expected"):
                raster.read(box, (2, 2))
        with pytest.raises(ValueError, match="size: expected"):
            raster.read((0, 0, 6, 4), (0, 2))
    with pytest.raises(ValueError, match="raster: expected an open one"):
        raster.read((0, 0, 6, 4), (2, 2))
    raster.close()


@pytest.mark.parametrize("cut", [100, 400, 20])
def test_damaged_npy_files(tmp_path: Path, cut: int) -> None:
    np.save(tmp_path / "x.npy", noise(10, 10))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:cut])
    with pytest.raises(MagNetError, match=r"x\.npy"):
        magnet.open_raster(tmp_path / "x.npy")


def test_a_damaged_head_of_a_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise(10, 10))
    content = (tmp_path / "x.npy").read_bytes()
    for old, new in (
        (b"}", b" "),
        (b"'shape'", b"'sh\0pe'"),
        (b"|u1", b"|z1"),
        (b"(10,", b"(99,"),
        (b"Y\x01", b"Y\x09"),
    ):
        (tmp_path / "x.npy").write_bytes(content.replace(old, new, 1))
        with pytest.raises(MagNetError, match=r"x\.npy"):
            magnet.open_raster(tmp_path / "x.npy")


def test_python_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(MagNetError, match=r"x\.npy"):
        magnet.open_raster(tmp_path / "x.npy")


# ---- which level


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 70), st.booleans(), st.booleans())
def test_rounded_sizes_have_the_whole_factor(h: int, w: int, d: int, up: bool, across: bool) -> None:
    def part(side: int, rounded_up: bool) -> int:
        return max(-(-side // d) if rounded_up else side // d, 1)

    level = part(h, up), part(w, across)
    rows, columns = level_factor((h, w), level)
    assert rows == columns and rows == int(rows)
    assert {part(h, True), part(h, False)} & {-(-h // int(rows)), max(h // int(rows), 1)}
    if min(level) > d and rows != d:  # a power of two that rounds to the same sides
        assert int(rows) & (int(rows) - 1) == 0
        sides = ((h, level[0]), (w, level[1]))
        assert all(side in (whole // int(rows), -(-whole // int(rows))) for whole, side in sides)


def test_factors() -> None:
    assert level_factor((1, 2), (1, 1)) == (2, 2)  # sides are never rounded to 0
    assert level_factor((3, 1000), (1, 125)) == (8, 8)
    assert level_factor((1001, 2003), (500, 1001)) == (2, 2)
    assert level_factor((1001, 2003), (501, 1002)) == (2, 2)
    assert level_factor((1000, 1000), (63, 63)) == (16, 16)
    assert level_factor((1000, 1000), (1, 1)) == (512, 512) or level_factor((1000, 1000), (1, 1)) == (1024, 1024)
    assert level_factor((1000, 3000), (400, 1200)) == (2.5, 2.5)
    assert level_factor((1000, 1000), (500, 1000)) == (2, 1)


def test_the_coarsest_level_that_is_fine_enough() -> None:
    factors = [(1.0, 1.0), (2.0, 2.0), (4.0, 4.0), (16.0, 16.0)]
    chosen = {p: choose_level(factors, (p, p)) for p in (0.3, 1, 1.99, 2, 3.9, 4, 15.9, 16, 500)}
    assert chosen == {0.3: 0, 1: 0, 1.99: 0, 2: 1, 3.9: 1, 4: 2, 15.9: 2, 16: 3, 500: 3}
    assert choose_level(factors, (16, 2)) == 1


@pytest.mark.parametrize("rounding", [np.floor, np.ceil])
def test_a_level_is_copied_where_it_has_the_resolution(rounding: np.ufunc) -> None:
    """Whatever its sides were rounded to: nothing is resampled."""
    size = (1001, 803)
    arrays = [noise(*(int(rounding(side / d)) for side in size), 3, seed=d) for d in (1, 2, 4)]
    raster = Levels(arrays)
    for level, d in enumerate((1, 2, 4)):
        got, valid = raster.read((8, 16, 8 + 64 * d, 16 + 100 * d), (100, 64))
        assert raster.asked.pop()[0] == level and valid.all()
        np.testing.assert_array_equal(got, arrays[level][16 // d :][:100, 8 // d :][:, :64])


def test_levels_agree_on_where_things_are() -> None:
    """A ramp read from any level is the ramp: no level is shifted against another."""
    y, x = np.mgrid[:512, :480].astype(np.float64)
    fine = np.stack([x, y], axis=2)
    arrays = [fine] + [fine.reshape(512 // d, d, 480 // d, d, 2).mean(axis=(1, 3)) for d in (2, 4, 8)]
    raster = Levels(arrays)
    for pitch in (1.0, 1.5, 2.0, 3.0, 4.0, 5.5, 8.0, 11.0):
        size = 30, 24
        box = (100.25, 60.5, 100.25 + pitch * 24, 60.5 + pitch * 30)
        got, _ = raster.read(box, size)
        # a filter of few taps is off by some hundredths of a pixel; a level that is shifted by half a pixel or more
        wanted = np.meshgrid(100.25 + (np.arange(24) + 0.5) * pitch - 0.5, 60.5 + (np.arange(30) + 0.5) * pitch - 0.5)
        np.testing.assert_allclose(got, np.stack(wanted, axis=2), rtol=0, atol=0.05 * pitch)


# ---- resizing


@given(st.data(), st.sampled_from(TYPES))
def test_resizing_is_as_defined(data: st.DataObject, dtype: type) -> None:
    height, width = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14))
    seed = data.draw(st.integers(0, 99))
    pixels = noise(height, width, 2, dtype, seed)
    valid = np.random.default_rng(seed).random((height, width)) < data.draw(st.sampled_from([0.3, 0.9, 1.0]))
    x0, y0 = data.draw(st.floats(-4, width - 0.5)), data.draw(st.floats(-4, height - 0.5))
    box = (x0, y0, max(x0, 0) + data.draw(st.floats(0.2, 20)), max(y0, 0) + data.draw(st.floats(0.2, 20)))
    size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    wanted, inside = plain_resize(pixels, valid, box, size)
    got, there = Levels([pixels], [valid]).read(box, size)
    np.testing.assert_array_equal(there, inside)
    assert not got[~there].any()
    if pixels.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-3)
    else:
        # half a step of rounding, and what float32 or float64 sums of such values leave
        slack = 0.5 + float(np.abs(wanted).max()) * (1e-5 if pixels.itemsize <= 2 else 1e-12)
        assert (np.abs(got.astype(np.float64) - wanted) <= slack).all()


@given(st.data(), st.sampled_from((np.uint8, np.uint16, np.float32, np.float64)), st.integers(1, 5))
def test_parts_are_bit_for_bit_what_a_crop_of_the_whole_is(data: st.DataObject, dtype: type, pitch: int) -> None:
    height, width = pitch * data.draw(st.integers(4, 20)), pitch * data.draw(st.integers(4, 20))
    fine = noise(height, width, 2, dtype, data.draw(st.integers(0, 99)))
    factor = data.draw(st.sampled_from([2, 3]))
    coarse = noise(-(-height // factor), -(-width // factor), 2, dtype)
    shares = [
        np.random.default_rng(7).random(one.shape[:2]) < data.draw(st.sampled_from([0.8, 1])) for one in (fine, coarse)
    ]
    shares[0][: height // 2] = True  # so that some parts are valid throughout, where the whole is not
    raster = Levels([fine, coarse], shares)
    whole, valid = raster.read((0, 0, width, height), (height // pitch, width // pitch))
    y0, x0 = data.draw(st.integers(0, height // pitch - 1)), data.draw(st.integers(0, width // pitch - 1))
    y1 = data.draw(st.integers(y0 + 1, height // pitch))
    x1 = data.draw(st.integers(x0 + 1, width // pitch))
    part, inside = raster.read((x0 * pitch, y0 * pitch, x1 * pitch, y1 * pitch), (y1 - y0, x1 - x0))
    np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])
    np.testing.assert_array_equal(inside, valid[y0:y1, x0:x1])


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_a_part_without_invalid_pixels_is_what_it_is_beside_them(dtype: type) -> None:
    """Weights of valid pixels add up to 1, but for the last bits, by which nothing must be divided then."""
    valid = np.ones((300, 300), bool)
    valid[200:] = False
    raster = Levels([noise(300, 300, 3, dtype)], [valid])
    for pitch in (3, 5, 6):
        whole, _ = raster.read((0, 0, 300, 300), (300 // pitch, 300 // pitch))
        part, _ = raster.read((0, 0, 150, 150), (150 // pitch, 150 // pitch))
        np.testing.assert_array_equal(part, whole[: 150 // pitch, : 150 // pitch])


def test_a_large_window_is_made_in_parts_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(700, 900)
    raster = Levels([pixels])
    whole, _ = raster.read((0, 0, 900, 700), (140, 180))
    assert len(raster.asked) == 1
    monkeypatch.setattr("magnet.images.rasters.raster._WINDOW_BYTES", 1 << 17)
    raster.asked.clear()
    parts, _ = raster.read((0, 0, 900, 700), (140, 180))
    np.testing.assert_array_equal(parts, whole)
    assert len(raster.asked) > 50
    assert max((x1 - x0) * (y1 - y0) * 12 for _, (x0, y0, x1, y1) in raster.asked) < 3 << 16


def test_it_is_what_pillow_makes_of_an_image() -> None:
    pixels = noise(120, 90)
    got, _ = Levels([pixels]).read((0, 0, 90, 120), (50, 31))
    pillow = np.asarray(Image.fromarray(pixels).resize((31, 50), Image.Resampling.BILINEAR))
    assert np.abs(got.astype(int) - pillow).max() <= 1  # Pillow rounds its weights


def test_nodata_does_not_bleed() -> None:
    pixels = np.full((64, 64, 1), 100, np.int16)
    valid = np.random.default_rng(0).random((64, 64)) < 0.5
    pixels[~valid] = -9999
    for size in ((64, 64), (32, 32), (21, 17), (100, 90)):
        got, inside = Levels([pixels], [valid]).read((0, 0, 64, 64), size)
        assert inside.any() and not inside.all()
        assert set(np.unique(got[inside])) == {100} and set(np.unique(got[~inside])) == {0}


# ---- what Pillow reads


def _save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "ppm", "gif", "jpg"])
def test_pictures_are_rgb(tmp_path: Path, suffix: str) -> None:
    pixels = noise(40, 50)
    path = _save(tmp_path / f"x.{suffix}", pixels, **({"lossless": True} if suffix == "webp" else {}))
    with magnet.open_raster(path) as raster:
        assert (raster.size, raster.channels, raster.dtype) == ((40, 50), 3, np.uint8)
        assert raster.colours == ("red", "green", "blue")
        window, valid = raster.read_level(0, (10, 5, 50, 40))
        assert valid.all()
        if suffix not in ("jpg", "gif"):
            np.testing.assert_array_equal(window, pixels[5:, 10:])
        np.testing.assert_array_equal(window, np.asarray(Image.open(path).convert("RGB"))[5:, 10:])


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("turned", [1, 6])
def test_transparent_pixels_are_invalid(
    tmp_path: Path, large: bool, turned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(40, 50, 4)
    pixels[..., 3] = np.where(np.arange(50) < 20, 0, pixels[..., 3] | 1)
    exif = Image.Exif()
    exif[0x0112] = turned
    path = _save(tmp_path / "x.png", pixels, exif=exif)
    if large:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with magnet.open_raster(path) as raster:
        upright = np.rot90(pixels, -1) if turned == 6 else pixels
        height, width = upright.shape[:2]
        assert raster.size == (height, width)
        window, valid = raster.read_level(0, (1, 2, width, height))
        np.testing.assert_array_equal(valid, (upright[..., 3] > 0)[2:, 1:])
        assert not window[~valid].any()
        black = np.rint(upright[..., :3] * (upright[..., 3:] / 255))[2:, 1:]
        assert np.abs(window - black).max() <= 1


@pytest.mark.parametrize("kind", ["grey and alpha", "palette", "grey, one clear"])
def test_other_kinds_of_transparency(tmp_path: Path, kind: str) -> None:
    grey = noise(16, 20, 1)[..., 0] & 0xF0
    path = tmp_path / "x.png"
    if kind == "grey and alpha":
        Image.fromarray(np.stack([grey, np.where(grey == 0x30, 0, 255).astype(np.uint8)], axis=2), "LA").save(path)
    elif kind == "palette":
        image = Image.fromarray(grey // 16, "P")
        image.putpalette(bytes(range(48)))
        image.save(path, transparency=3)
    else:
        Image.fromarray(grey).save(path, transparency=0x30)
    with magnet.open_raster(path) as raster:
        np.testing.assert_array_equal(raster.read_level(0, (0, 0, 20, 16))[1], grey != 0x30)


def test_a_cut_picture_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.png", noise(40, 50))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MagNetError, match=r"x\.png"):
        magnet.open_raster(path)
    with pytest.raises(MagNetError, match="does not exist"):
        magnet.open_raster(tmp_path / "y.png")
    with pytest.raises(MagNetError, match="is a folder"):
        magnet.open_raster(tmp_path)
    with pytest.raises(ValueError, match="page: expected None"):
        magnet.open_raster(_save(tmp_path / "z.png", noise(4, 5)), page=0)


def test_threads_read_one_array_at_once() -> None:
    pixels = noise(200, 200)
    with magnet.open_raster(pixels) as raster:
        read_in_threads(raster, pixels, 60)


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    """A subprocess, as other tests of this one import them."""
    np.save(tmp_path / "x.npy", noise(4, 4))
    Image.fromarray(noise(4, 4)).save(tmp_path / "x.png")
    code = (
        "import sys, magnet; magnet.open_raster('x.npy').close(); magnet.open_raster('x.png').close()\n"
        "print([name for name in ('rasterio', 'openslide', 'zarr', 'tifffile', 'pyvips') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment_of_a_program(), capture_output=True, text=True
    )
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_what_is_to_be_typed_is_what_the_extras_hold() -> None:
    import tomllib

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra, typed in PACKAGES.items():
        assert typed.replace("'", "").split() == extras[extra]
        # torchvision, which timm needs, does not load beside a CPU build of torch
        assert set(extras[extra]) <= set(extras["zoo" if extra == "timm" else "test"])
