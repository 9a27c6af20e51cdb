"""Bands and ranges of values: what networks see of a raster, and what is refused instead of being guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from raster_files import noise
from tiff_files import write_strips

import magnet
from magnet.errors import MagNetError
from magnet.images import to_tensor
from magnet.images.rasters import Channels
from magnet.images.rasters.channels import coarsest_values
from magnet.images.rasters.raster import Raster
from magnet.notices import gathered


class Named(Raster):
    """An array whose bands have names; limits where the file states them."""

    def __init__(self, pixels: np.ndarray, *colours: str, **more: Any) -> None:
        self.pixels = pixels
        super().__init__("x", (pixels.shape[:2],), pixels.shape[2], pixels.dtype, colours=colours or None, **more)

    def _window(self, level: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = box
        part = self.pixels[y0:y1, x0:x1]
        return part, ~(part == self.nodata).all(axis=2)


def test_bytes_are_what_they_were_bit_for_bit() -> None:
    for pixels in (noise(20, 30), np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)):
        assert torch.equal(Channels().of(Named(pixels))(pixels), to_tensor(pixels))


def test_grey_is_repeated() -> None:
    pixels = noise(20, 30, 1)
    assert torch.equal(Channels().of(Named(pixels))(pixels), to_tensor(np.repeat(pixels, 3, axis=2)))
    assert torch.equal(Channels(bands=(1,)).of(Named(pixels))(pixels), to_tensor(np.repeat(pixels, 3, axis=2)))
    assert Channels().of(Named(pixels), 1)(pixels).shape == (1, 20, 30)
    scaled = Channels(value_range=(0, 510)).of(Named(pixels))(pixels)
    assert torch.allclose(scaled, to_tensor(np.repeat(pixels, 3, axis=2)) / 2)


@pytest.mark.parametrize(
    ("colours", "index"),
    [
        (("red", "green", "blue", "nir"), (0, 1, 2)),
        (("blue", "green", "red", "nir", "undefined"), (2, 1, 0)),
        (("blue", "green", "red"), (2, 1, 0)),
        (("gray", "undefined", "undefined"), (0, 1, 2)),
    ],
)
def test_colours_are_found_by_their_names(colours: tuple[str, ...], index: tuple[int, ...]) -> None:
    pixels = noise(8, 9, len(colours))
    made = Channels().of(Named(pixels, *colours))
    assert made.index == index
    assert torch.equal(made(pixels), to_tensor(pixels[..., list(index)]))


@pytest.mark.parametrize(
    "colours",
    [
        ("gray", "undefined", "undefined", "undefined"),
        ("red", "green", "undefined", "nir"),
        ("red", "red", "green", "blue"),
        ("gray", "undefined"),
    ],
)
def test_bands_that_say_nothing_are_listed(colours: tuple[str, ...]) -> None:
    """They used to be dropped without a word."""
    with pytest.raises(MagNetError, match=rf"1 {colours[0]}, 2 {colours[1]}.*bands=\(1, 2.*--bands"):
        Channels().of(Named(noise(8, 9, len(colours)), *colours))


def test_bands_that_are_given() -> None:
    pixels = noise(8, 9, 6)
    made = Channels(bands=[6, 1, 1, 3]).of(Named(pixels), 4)  # type: ignore[arg-type]
    assert torch.equal(made(pixels), to_tensor(pixels[..., [5, 0, 0, 2]]))
    assert Channels().of(Named(pixels), 6).index == tuple(range(6))
    with pytest.raises(MagNetError, match="bands: expected numbers from 1 to 6, got"):
        Channels(bands=(1, 2, 7)).of(Named(pixels))
    with pytest.raises(MagNetError, match="bands: expected 3, as many as the network has channels, got 2"):
        Channels(bands=(1, 2)).of(Named(pixels))
    with pytest.raises(ValueError, match="wanted: expected 1 to 16"):
        Channels().of(Named(pixels), 17)


@pytest.mark.parametrize("bands", [(), (0, 1, 2), (1.5,), "123", 3, (True, 1, 2), tuple(range(1, 18))])
def test_what_are_no_bands(bands: Any) -> None:
    with pytest.raises(ValueError, match="bands: expected 1 to 16 numbers of bands"):
        Channels(bands=bands)


@pytest.mark.parametrize(
    "given", ["auto", (1, 1), (2, 1), (0,), (0, 1, 2), (0, float("nan")), (0, "1"), ((0, 1), (3, 2)), 7, (True, 2)]
)
def test_what_are_no_ranges(given: Any) -> None:
    with pytest.raises(ValueError, match="value_range: expected"):
        Channels(value_range=given)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_values_of_unknown_range_are_refused_with_what_they_are(dtype: type) -> None:
    """They used to come out nearly black, or were called corrupt."""
    pixels = noise(30, 30, 3, dtype) // 16
    pixels[3:5] = -99 if np.dtype(dtype).kind != "u" else 65535
    span = np.delete(pixels, (3, 4), axis=0)
    with pytest.raises(MagNetError, match=f"value_range: .* are {span.min():g} to {span.max():g};.*--value-range"):
        Channels().of(Named(pixels, nodata=float(pixels[3, 0, 0])))


def test_ranges() -> None:
    pixels = noise(30, 40, 3, np.uint16)

    def made(given: Any, **more: Any) -> np.ndarray:
        tensor = Channels(value_range=given).of(Named(pixels, **more))(pixels)
        assert tensor.dtype == torch.float32 and tensor.shape == (3, 30, 40)
        return tensor.permute(1, 2, 0).numpy()

    values = pixels.astype(np.float64)
    np.testing.assert_allclose(made("dtype"), values / 65535, atol=1e-7)
    np.testing.assert_allclose(made([1000, 30000]), np.clip((values - 1000) / 29000, 0, 1), atol=1e-7)
    each = ((0, 100), (0, 60000), (-5, 5))
    low, high = np.array(each, float).T
    np.testing.assert_allclose(made(each), np.clip((values - low) / (high - low), 0, 1), atol=1e-7)
    low, high = np.percentile(values, (2, 98), axis=(0, 1))
    np.testing.assert_allclose(made("percentile"), np.clip((values - low) / (high - low), 0, 1), atol=1e-6)
    with gathered() as notices:
        np.testing.assert_allclose(made(None, limits=(0, 65535)), values / 65535, atol=1e-7)
        assert not notices
        made(None, limits=(0, 4095))
    assert "states values from 0 to 4095" in str(notices[0])
    with pytest.raises(MagNetError, match="expected one pair, or 3"):
        made(((0, 1), (0, 1)))
    floats = Named(noise(8, 8, 3, np.float32))
    with pytest.raises(MagNetError, match="'dtype' is no range"):
        Channels(value_range="dtype").of(floats)


def test_invalid_pixels_are_black() -> None:
    pixels = np.full((4, 4, 3), 0.5, np.float32)
    valid = np.ones((4, 4), bool)
    valid[1, 2] = False
    pixels[0, 0] = np.nan
    made = Channels(value_range=(-1, 1)).of(Named(pixels))(pixels, valid)
    assert (made[:, 1, 2] == 0).all() and (made[:, 0, 0] == 0).all() and (made[:, 3, 3] == 0.75).all()
    grey = np.full((4, 4, 3), 9, np.uint8)
    assert (Channels().of(Named(grey))(grey, valid)[:, 1, 2] == 0).all()


def test_percentiles_leave_nodata_out() -> None:
    pixels = noise(50, 50, 3, np.int16)
    pixels[:25] = -9999
    low, high = np.percentile(pixels[25:].astype(float), (2, 98), axis=(0, 1))
    ranges = Channels(value_range="percentile").of(Named(pixels, nodata=-9999)).ranges
    np.testing.assert_allclose(ranges, np.stack([low, high], axis=1))
    pixels[:] = -9999
    blank = Channels(value_range="percentile").of(Named(pixels, nodata=-9999))  # of which nothing is seen
    assert not blank.seen(pixels, np.zeros((50, 50), bool)).any()
    flat = np.full((5, 5, 3), 7, np.int16)
    assert (Channels(value_range="percentile").of(Named(flat))(flat) == 0).all()


def test_a_large_coarsest_level_is_sampled() -> None:
    y, x = np.mgrid[:900, :1100]
    pixels = np.stack([x, y], axis=2).astype(np.uint16)
    assert coarsest_values(Named(pixels), [1, 0]).shape == (900 * 1100, 2)
    some = coarsest_values(Named(pixels), [1, 0], most=1 << 14)
    assert some.shape == (1 << 14, 2)
    assert some.min(axis=0).tolist() == [0, 0] and some.max(axis=0).tolist() == [899, 1099]
    np.testing.assert_allclose(np.percentile(some, (10, 50, 90), axis=0), [[90, 110], [450, 550], [810, 990]], atol=40)
    narrow = coarsest_values(Named(pixels[:, :3]), [0], most=1 << 11)
    assert set(np.unique(narrow)) == {0, 1, 2}
    few = coarsest_values(Named(pixels), [0, 1], most=1 << 14, windows=3)  # of 42 x 42
    for values, starts in ((few[:, 0], (0, 529, 1058)), (few[:, 1], (0, 429, 858))):
        assert np.unique(values).tolist() == [start + i for start in starts for i in range(42)]


def test_limits_of_a_file_are_its_range(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    pixels = noise(20, 20, 1, np.uint16) % 2901 + 100
    write_strips(tmp_path / "x.tif", pixels, tags={280: [100], 281: [3000]})
    with magnet.open_raster(tmp_path / "x.tif") as raster:
        made = Channels().of(raster)(raster.read_level(0, (0, 0, 20, 20))[0])
    wanted = np.repeat((pixels - 100.0) / 2900, 3, axis=2)
    np.testing.assert_allclose(made.permute(1, 2, 0).numpy(), wanted, atol=1e-6)
