"""Images of data sets of any bands and values: what is loaded, at which size, and what is told of files that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from band_data import band_folder, read_bands
from PIL import Image
from raster_files import noise, write_tiff
from tiny_data import tiny_config, tiny_folder

from magnet.cli.config import parse_config
from magnet.cli.main import main
from magnet.data import LabelledFiles, ScaleCache, open_split
from magnet.errors import MagNetError
from magnet.images import read_image
from magnet.images.picture import as_picture
from magnet.images.rasters.channels import BandsError
from magnet.images.resize_pixels import resize_pixels

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
FIVE = {"data.channels": "5", "data.value_range": "[0, 3000]"}


def opened(folder: Path, split: str = "train", **keys: str) -> LabelledFiles:
    return open_split(parse_config(tiny_config(folder, folder, **keys)).data, split)[0]  # type: ignore[return-value]


def labels_of(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "labels" / f"{name}.png"))


def test_8_bit_rgb_is_loaded_as_it_was(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data")
    dataset = opened(folder)
    for index in range(len(dataset)):
        image, labels = dataset.load(index)
        assert image.dtype == np.uint8 and np.array_equal(image, read_image(dataset.pairs[index].image))
        assert np.array_equal(labels, labels_of(folder, dataset.name(index)))


def test_bands_are_loaded_as_the_networks_see_them(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    dataset = opened(folder, **FIVE, **{"data.bands": "[2,1,5,4,3]"})
    for index in range(len(dataset)):
        image, labels = dataset.load(index)
        (pixels,) = read_bands([dataset.pairs[index].image])
        expected = np.clip(pixels[..., [1, 0, 4, 3, 2]] / 3000, 0, 1).astype(np.float32)
        assert image.dtype == np.float32 and np.array_equal(image, expected)
        assert np.array_equal(labels, labels_of(folder, dataset.name(index)))
        assert dataset.size(index) == image.shape[:2]


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data", 5, np.uint8, 255)
    dataset = opened(folder, **{"data.channels": "2", "data.bands": "[5,1]"})
    image, _ = dataset.load(0)
    (pixels,) = read_bands([dataset.pairs[0].image])
    assert image.dtype == np.uint8 and np.array_equal(image, pixels[..., [4, 0]])


def test_pixels_without_a_value_are_ignored(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data", 2, nodata=0)
    path = folder / "images" / "p0.tif"
    (pixels,) = read_bands([path])
    pixels[30:40, 50:70] = 0
    write_tiff(path, pixels, nodata=0)
    image, labels = opened(folder, **{"data.channels": "2", "data.value_range": "[-1000, 3000]"}).load(0)
    expected = labels_of(folder, "p0").copy()
    expected[30:40, 50:70] = 255
    assert np.array_equal(labels, expected) and not image[30:40, 50:70].any() and image[:30].min() > 0.25


def test_grey_pictures(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data")
    for image in sorted((folder / "images").iterdir()):
        values = noise(64, 96, 1, np.uint16)[..., 0]
        Image.fromarray(values).save(image.with_suffix(".png"))
        image.unlink()
    dataset = opened(folder, **{"data.channels": "1", "data.value_range": "dtype"})
    assert dataset.size(0) == (64, 96)
    assert np.array_equal(dataset.load(0)[0][..., 0], (values / 65535).astype(np.float32))


def test_turned_grey_pictures_stay_as_stored_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data")
    grey = noise(64, 96, 1)[..., 0]
    for image in sorted((folder / "images").iterdir()):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(grey).save(image.with_suffix(".png"), exif=exif)
        image.unlink()
    keys = {"data.channels": "1"}
    dataset = opened(folder, **keys, **{"data.exif": "ignore"})
    assert np.array_equal(dataset.load(0)[0][..., 0], grey) and dataset.size(0) == (64, 96)
    with pytest.raises(MagNetError, match=r"is 96x64 .HxW., but its labels .* set data\.exif to ignore"):
        opened(folder, **keys).load(0)


def test_a_file_past_the_limit_is_shrunk_as_its_labels_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = band_folder(tmp_path / "data")
    dataset = opened(folder, **FIVE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    pytest.importorskip("pyvips")
    image, labels = dataset.load(0)
    assert image.shape == (32, 48, 5) and labels.shape == dataset.size(0) == (32, 48)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_each_channel_is_resized_by_itself(dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).random((20, 30, channels)) * (255 if dtype is np.uint8 else 1)
    image = image.astype(dtype)
    for size in ((10, 15), (40, 60), (7, 33)):
        found = resize_pixels(image, size)
        assert found.dtype == dtype and found.flags.writeable
        for channel in range(channels):
            band = Image.fromarray(image[..., channel]).resize(size[::-1], Image.Resampling.BILINEAR)
            assert np.array_equal(found[..., channel], np.asarray(band))


def test_copies_at_each_scale(tmp_path: Path) -> None:
    dataset = opened(band_folder(tmp_path / "data"), **FIVE)
    cache = ScaleCache(dataset, [(16, 24), (64, 96)])
    cache.preload()
    image, labels = dataset.load(1)
    assert np.array_equal(cache.get(1, 1)[0], image) and np.array_equal(cache.get(1, 1)[1], labels)
    assert np.array_equal(cache.get(1, 0)[0], resize_pixels(image, (16, 24)))


def test_pictures_show_three_channels() -> None:
    bands = noise(6, 7, 5)
    assert np.array_equal(as_picture(bands), bands[..., :3])
    assert np.array_equal(as_picture(bands[..., :3]), bands[..., :3])
    for count in (1, 2):
        assert np.array_equal(as_picture(bands[..., :count]), np.repeat(bands[..., :1], 3, axis=2))
    assert np.array_equal(as_picture(bands.astype(np.float32) / 255), bands[..., :3])


def test_the_check_tells_of_other_bands_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = band_folder(tmp_path / "data")
    write_tiff(folder / "images" / "p0.tif", noise(64, 96, 4, np.uint16) % 3000)
    write_tiff(folder / "images" / "p1.tif", noise(64, 96, 5))
    write_tiff(folder / "images" / "p2.tif", noise(64, 96, 5, np.uint16))
    words = ["data", "check", str(folder), "--split", "train", "--data.channels", "5"]
    assert main([*words, "--data.value_range", "[0,3000]"]) == 1
    out = capsys.readouterr().out
    assert "wrong, bands and values: bands: expected 5, as many as the network has channels, but" in out
    assert "wrong, bands and values: value_range: expected pixels of up to 3000, but" in out
    assert "1 image of 4 hold many values outside of the declared range; the first" in out and "p2.tif" in out
    assert "2 things are wrong" in out


def test_the_check_is_content_with_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = band_folder(tmp_path / "data")
    for given in ("[0,3000]", "percentile"):
        assert main(["data", "check", str(folder), "--data.channels", "5", "--data.value_range", given]) == 0
        assert "wrong" not in capsys.readouterr().out


def test_other_bands_are_no_corrupt_files(tmp_path: Path) -> None:
    """They are not skipped: the settings are wrong, or the data are others."""
    folder = band_folder(tmp_path / "data")
    write_tiff(folder / "images" / "p1.tif", noise(64, 96, 4, np.uint16) % 3000)
    with pytest.raises(BandsError, match=r"p1\.tif' has only the 4 bands"):
        opened(folder, **FIVE, **{"data.corrupt": "skip"})
    (folder / "images" / "p1.tif").write_bytes(b"II*\0")
    assert len(opened(folder, **FIVE, **{"data.corrupt": "skip"})) == 3
