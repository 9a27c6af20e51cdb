"""Reading images: what comes in, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from png_files import write_png16
from tiff_files import write_strips

from magnet.errors import MagNetError
from magnet.images.large import fitting_size, open_image
from magnet.images.read import CorruptImageError, LargeImageError, is_large, read_image
from magnet.images.tensors import normalize, resize, to_tensor


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_read_image(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png"), picture)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_modes_become_rgb(tmp_path: Path, picture: np.ndarray, mode: str) -> None:
    image = Image.fromarray(picture).convert(mode)
    image.save(tmp_path / "x.tif")
    assert np.array_equal(read_image(tmp_path / "x.tif"), np.array(image.convert("RGB")))


def test_memory_that_cannot_be_written_to_is_taken_without_a_word(picture: np.ndarray) -> None:
    picture.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(to_tensor(picture), to_tensor(picture.copy()))


def test_exif_turns_the_image_upright(tmp_path: Path, picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png"), np.rot90(picture, -1))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("LA", "png"), ("RGBA", "png"), ("P", "png"), ("L", "png"), ("RGB", "png"), ("LA", "tif"), ("RGBA", "tif")],
)
def test_what_is_transparent_is_laid_over_black(tmp_path: Path, picture: np.ndarray, mode: str, suffix: str) -> None:
    image, path = Image.fromarray(picture), tmp_path / f"x.{suffix}"
    alpha = picture[..., 0].copy()
    if mode in ("LA", "RGBA"):
        image = image.convert(mode[:-1])
        opaque = np.array(image.convert("RGB"))
        image.putalpha(Image.fromarray(alpha))
        image.save(path)
    else:  # one colour stands for nothing
        image = image.quantize(16) if mode == "P" else image.convert(mode)
        opaque, clear = np.array(image.convert("RGB")), image.getpixel((3, 4))
        image.save(path, transparency=clear)
        alpha = np.where((opaque == opaque[4, 3]).all(axis=2), 0, 255).astype(np.uint8)
    expected = np.rint(opaque * (alpha[..., None] / 255))
    assert (alpha == 0).any() and (alpha > 200).any()
    found = read_image(path)
    assert np.abs(found - expected).max() <= (0 if mode in ("P", "L", "RGB") else 1)
    assert not found[alpha == 0].any()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_colour_keep_the_high_byte(tmp_path: Path, suffix: str) -> None:
    deep = np.random.default_rng(2).integers(0, 2**16, (30, 40, 3), dtype=np.uint16)
    path = tmp_path / f"x.{suffix}"
    write_strips(path, deep) if suffix == "tif" else write_png16(path, deep)
    assert np.array_equal(read_image(path), (deep >> 8).astype(np.uint8))


def test_separate_planes_that_pillow_garbles_are_refused(tmp_path: Path, picture: np.ndarray) -> None:
    write_strips(tmp_path / "x.tif", picture, separate=True)
    assert np.array_equal(read_image(tmp_path / "x.tif"), picture)
    write_strips(tmp_path / "x.tif", np.dstack([picture, np.full((30, 40), 255, np.uint8)]), separate=True, extra=2)
    assert np.array_equal(read_image(tmp_path / "x.tif"), picture)
    write_strips(tmp_path / "x.tif", picture.astype(np.uint16) * 257, separate=True)
    with pytest.raises(CorruptImageError, match=r"separate planes of 16 bits .*interleaved.*x\.tif"):
        read_image(tmp_path / "x.tif")


def test_the_last_of_four_bands_is_dropped_where_it_is_no_alpha(tmp_path: Path, picture: np.ndarray) -> None:
    write_strips(tmp_path / "x.tif", np.dstack([picture, picture[..., 0]]), extra=0)
    assert np.array_equal(read_image(tmp_path / "x.tif"), picture)


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation(tmp_path: Path, picture: np.ndarray, turned: int) -> None:
    """What the tag says: where the first row and the first column of the file belong."""
    upright = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, -1),
        7: np.rot90(picture, -1)[::-1],
        8: np.rot90(picture),
    }[turned]
    exif = Image.Exif()
    exif[0x0112] = turned
    for suffix in ("png", "tif"):
        Image.fromarray(picture).save(tmp_path / f"x.{suffix}", exif=exif)
        assert np.array_equal(read_image(tmp_path / f"x.{suffix}"), upright)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_no_damage_gives_another_error(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(picture).save(path)
    good = path.read_bytes()
    named = 0
    for _ in range(60):
        bad = bytearray(good)
        for at in rng.integers(0, min(len(bad), 400), 4):
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bad[: rng.integers(1, len(bad))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of strange tags
            try:
                read_image(path)
            except (CorruptImageError, LargeImageError) as error:  # large: if its size is what was damaged
                named += f"x.{suffix}" in str(error)
    assert named > 20


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing", "folder"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_bad_files_are_named(tmp_path: Path, picture: np.ndarray, damage: str, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    Image.fromarray(picture).save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-400])
    elif damage == "text":
        path.write_text("not an image")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(MagNetError, match=rf"^image: .*bad\{suffix}.*(replace the file|check the path)") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_too_many_pixels(tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MagNetError, match=r"x\.png' has more pixels"):
        read_image(tmp_path / "x.png")


def test_a_limit_of_no_pixels_is_a_limit(tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture).save(tmp_path / "x.png")
    for limit, large in ((0, True), (None, False)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert is_large(tmp_path / "x.png") == large
        assert fitting_size((30, 40)) == ((1, 1) if large else (30, 40))


def test_to_tensor_and_normalize(picture: np.ndarray) -> None:
    tensor = to_tensor(picture)
    assert tensor.shape == (3, 30, 40) and tensor.dtype == torch.float32
    assert tensor[2, 5, 7].item() == pytest.approx(picture[5, 7, 2] / 255)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert normalize(mean).abs().max() < 1e-6
    one = normalize(mean + torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    torch.testing.assert_close(one, torch.ones_like(one))


def test_resize_averages_when_it_shrinks() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(8).expand(1, 1, 16, 16)
    assert resize(stripes, (16, 16)) is stripes
    small = resize(stripes, (4, 4))
    assert (small[..., 1:3] - 0.5).abs().max() < 0.05  # picking pixels would give 0 or 1
    assert resize(stripes, (32, 20)).shape == (1, 1, 32, 20)


@pytest.mark.parametrize("limit", [None, 100], ids=["Pillow", "large"])
def test_a_damaged_png_is_refused_or_gives_its_pixels(
    tmp_path: Path, picture: np.ndarray, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bit of the file in turn: Pillow by itself compares no checksum of pixels."""
    if limit:
        pytest.importorskip("pyvips")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = tmp_path / "x.png"
    pixels = picture[:12, :10]
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            image = open_image(path)
            assert np.array_equal(image.read((0, 0, 10, 12)), pixels), place
        except MagNetError:
            refused += 1
    assert refused > len(pixels) * 10 * 3  # the data, at least


def test_normalize_refuses_bytes() -> None:
    with pytest.raises(TypeError, match=r"^images: expected floats in \[0, 1\], got torch\.uint8; divide by 255"):
        normalize(torch.zeros(3, 4, 4, dtype=torch.uint8))
