"""Photographs that their EXIF tag turns, with labels drawn on either picture."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import write_png16
from tiff_files import write_strips
from tiny_data import tiny_folder

from magnet.data import DataFolder, ScaleCache
from magnet.data.check import check_split
from magnet.data.config import DataConfig
from magnet.data.labels import read_labels
from magnet.data.open import open_files
from magnet.data.sizes import image_size
from magnet.errors import MagNetError
from magnet.images.large import open_image
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.read_input import read_input
from magnet.images.read import read_image
from magnet.notices import sum_up

SIZE = (30, 40)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder has been warned of."""
    monkeypatch.setattr("magnet.notices._FILES", {})
    monkeypatch.setattr("magnet.notices._TOLD", {})


def save(path: Path, pixels: np.ndarray, orientation: int) -> None:
    """Write an image file with an EXIF turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    if path.suffix == ".webp":
        image.save(path, exif=exif, lossless=True)
    else:
        image.save(path, exif=exif, quality=95)


def turn(path: Path, orientation: int, pixels: np.ndarray | None = None) -> None:
    """Give an image file an EXIF turn."""
    save(path, read_image(path) if pixels is None else pixels, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_as_stored(tmp_path: Path, orientation: int, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    path = tmp_path / f"x.{suffix}"
    save(path, pixels, orientation)
    upright = SIZE[::-1] if orientation >= 5 else SIZE
    assert np.array_equal(read_image(path, upright=False), pixels)
    assert read_image(path).shape[:2] == image_size(path) == upright and image_size(path, upright=False) == SIZE
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = open_image(path, upright=False)
    assert large.large and large.turned == orientation and large.size == SIZE
    assert np.array_equal(large.read((3, 5, 20, 9)), pixels[5:9, 3:20])
    small, _, _, turned = read_input(path, InputSettings(), upright=False)
    assert small.shape == (15, 20, 3) == (*image_size(path, upright=False), 3) and turned == orientation
    assert image_size(path) == ((20, 15) if orientation >= 5 else (15, 20))


def data(folder: Path, exif: str = "apply") -> DataFolder:
    dataset = open_files(DataConfig(root=str(folder), exif=exif), "train")[0]  # type: ignore[arg-type]
    assert isinstance(dataset, DataFolder)
    return dataset


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_as_stored(tmp_path: Path, orientation: int) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SIZE, dtype=np.uint8)
    save(tmp_path / "x.tif", labels, orientation)
    assert np.array_equal(read_labels(tmp_path / "x.tif"), labels)


def test_labels_of_the_stored_picture_name_the_setting(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    path = data(folder).pairs[0].image
    stored = read_image(path)
    turn(path, 6)
    told = (
        r"96x64 \(HxW\), but its labels '.*' are 64x96; they must be of one size: its EXIF tag \(orientation 6\) turns "
    )
    told += "it, and the labels fit it as it is stored; set data.exif to ignore"
    for ask in (lambda: data(folder).load(0), lambda: data(folder).size(0)):
        with pytest.raises(MagNetError, match=told):
            ask()
    assert "set data.exif to ignore" in check_split(data(folder)).wrong["sizes"][0]
    dataset = data(folder, "ignore")
    image, labels = dataset.load(0)
    assert image.shape[:2] == labels.shape == dataset.size(0) == (64, 96)
    assert np.abs(image.astype(int) - stored).mean() < 8  # compressed again
    assert not check_split(dataset).wrong


def test_labels_of_the_upright_picture_name_the_setting_too(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    path = data(folder).pairs[0].image
    turn(path, 8, np.rot90(read_image(path), -1))
    assert data(folder).load(0)[0].shape == (64, 96, 3)
    with pytest.raises(
        MagNetError, match=r"EXIF tag \(orientation 8\) would turn it so that they fit; set data.exif to apply"
    ):
        data(folder, "ignore").load(0)


def test_a_size_error_that_no_turn_explains_does_not_name_one(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    path = data(folder).pairs[0].image
    for orientation, pixels in ((1, np.zeros((96, 64, 3), np.uint8)), (6, np.zeros((64, 95, 3), np.uint8))):
        turn(path, orientation, pixels)
        with pytest.raises(MagNetError, match=r"must be of one size$"):
            data(folder).load(0)


@pytest.mark.parametrize(("exif", "other"), [("apply", "ignore"), ("ignore", "apply")])
@pytest.mark.parametrize("square", [False, True])
def test_what_fits_either_way_is_warned_of_once(
    tmp_path: Path, exif: str, other: str, square: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_folder(tmp_path, size=(64, 64) if square else (64, 96))
    dataset = data(folder, exif)
    for pair in dataset.pairs:
        turn(pair.image, 6 if square else 3)
    done = "applied" if exif == "apply" else "ignored"
    told = f"carries an EXIF turn (orientation {6 if square else 3}), which is {done}, "
    told += f"and its labels fit it either way; compare them with the image, and set data.exif to {other}"
    ScaleCache(dataset, [(32, 32)]).preload()
    dataset.load(0)
    assert (
        len(caplog.messages) == 1 and told in caplog.messages[0] and str(dataset.pairs[0].image) in caplog.messages[0]
    )
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    report = check_split(data(folder, exif))
    notes = [note for note in report.notes if told in note]
    assert len(notes) == len(dataset) > 1 and not report.wrong and not caplog.messages
    assert all(str(pair.image) in note for pair, note in zip(dataset.pairs, notes, strict=True))


def test_every_turned_image_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    path = data(folder).pairs[0].image
    turn(path, 6, np.rot90(read_image(path)))
    data(folder).load(0)
    report = check_split(data(folder))
    assert [note for note in report.notes if "EXIF" in note] == [
        f"'{path}' carries an EXIF turn (orientation 6), which is applied (data.exif: apply)"
    ]
    assert not report.wrong and not caplog.messages  # there is one way that it fits


def test_odd_pixels_are_one_note_of_a_check_and_one_warning_of_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    paths = [pair.image for pair in data(folder).pairs]
    for path in paths:
        path.unlink()
        deep = np.random.default_rng(1).integers(0, 4096, (64, 96, 3), dtype=np.uint16)
        write_png16(path.with_suffix(".png"), deep)
    first = data(folder).pairs[0].image
    notes = [note for note in check_split(data(folder)).notes if "16 bits" in note]
    assert not caplog.messages and len(notes) == 1
    count = f"{len(paths)} images of {len(paths)} use less than a sixth of the range of 16 bits; the first: image: "
    assert notes[0].startswith(f"{count}'{first}' has 16 bits, but 99% of its values lie below 4096 of 65536")
    ScaleCache(data(folder), [(32, 32)]).preload()
    sum_up()
    assert len(caplog.messages) == 2 and f"'{first}' has 16 bits" in caplog.messages[0]
    assert caplog.messages[1] == (
        f"image: {len(paths)} images of '{first.parent}' use less than a sixth of the range of 16 bits"
    )


def test_bands_left_out_are_noted(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    path = data(folder).pairs[0].image
    pixels = np.dstack([read_image(path), np.full((64, 96), 3, np.uint8)])
    path.unlink()
    write_strips(path.with_suffix(".tif"), pixels)
    assert np.array_equal(data(folder).load(0)[0], pixels[..., :3])
    assert any("neither colour nor alpha, which are left out" in note for note in check_split(data(folder)).notes)
