"""Reading images: what comes in, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magnet.errors import MagNetError
from magnet.images import normalize, read_image, resize, to_tensor


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


def test_exif_turns_the_image_upright(tmp_path: Path, picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png"), np.rot90(picture, -1))


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
