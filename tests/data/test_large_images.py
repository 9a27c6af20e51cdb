"""Images past Pillow's size limit: the same pixels by window, in little memory.

Most tests lower the limit, so that small files take the way of large ones; a few use files that really are large.
"""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from live import environment_of_a_program
from PIL import Image
from png_files import write_png, write_png16
from tiff_files import write_strips, write_tiles
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

from magnet.data import DataFolder, resize_labels
from magnet.errors import MagNetError
from magnet.images.large import fitting_size, open_image, read_nearest
from magnet.images.read import CorruptImageError, LargeImageError, read_image

SIZE = (90, 130)


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth with noise: errors of position and of rounding both show."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    smooth = np.stack([x * 255 / SIZE[1], y * 255 / SIZE[0], (x + y) % 256], axis=2)
    return np.clip(smooth + rng.integers(-20, 20, (*SIZE, 3)), 0, 255).astype(np.uint8)


def _save(path: Path, picture: np.ndarray, kind: str) -> Path:
    """Write ``picture`` as one of KINDS; returns the file."""
    image = Image.fromarray(picture)
    alpha = Image.fromarray(picture[..., 2])
    name, _, suffix = kind.rpartition(".")
    path = path / f"x.{suffix}"
    deep = picture.astype(np.uint16) * 257 + picture[..., ::-1] // 2
    if name == "rgba":
        image.putalpha(alpha)
        image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    elif name == "la":
        grey = image.convert("L")
        grey.putalpha(alpha)
        grey.save(path)
    elif name == "palette":
        image.quantize(16).save(path)
    elif name == "palette, one clear":
        image.quantize(16).save(path, transparency=3)
    elif name == "palette, all half clear":
        image.quantize(16).save(path, transparency=bytes(range(0, 240, 15)))
    elif name == "grey, one clear":
        image.convert("L").save(path, transparency=int(np.asarray(image.convert("L"))[0, 0]))
    elif name == "16 bits, grey":
        Image.fromarray(deep[..., 0]).save(path)
    elif name == "16 bits, rgb":
        if suffix == "tif":
            write_strips(path, deep)
        else:
            write_png16(path, deep)
    elif name == "four bands, no alpha":
        write_strips(path, np.dstack([picture, picture[..., 0]]), extra=0)
    elif name == "alpha multiplied in":
        opaque = picture[..., 2].astype(np.uint16)
        write_strips(path, np.dstack([(picture * opaque[..., None] // 255), opaque]).astype(np.uint8), extra=1)
    elif name == "tiles":
        h, w = SIZE
        padded = np.pad(picture, ((0, -h % 32), (0, -w % 48), (0, 0)))
        tiles = [padded[y : y + 32, x : x + 48] for y in range(0, h, 32) for x in range(0, w, 48)]
        write_tiles(path, SIZE, tiles, lambda i, j: i * 3 + j)
    elif name.startswith("turned"):
        exif = Image.Exif()
        exif[0x0112] = int(name[-1])
        image.save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    else:
        image.convert(name).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    return path


KINDS = [
    *(f"{mode}.{suffix}" for suffix in ("png", "tif") for mode in ("RGB", "L", "1", "la", "rgba", "palette")),
    *("RGB.jpg", "L.jpg", "CMYK.jpg", "CMYK.tif", "RGB.webp", "rgba.webp"),
    *("palette, one clear.png", "palette, all half clear.png", "grey, one clear.png"),
    *("16 bits, grey.png", "16 bits, grey.tif", "16 bits, rgb.png", "16 bits, rgb.tif"),
    *("four bands, no alpha.tif", "alpha multiplied in.tif", "tiles.tif"),
    *(f"turned {i}.{suffix}" for i, suffix in enumerate(("jpg", "png", "tif", "jpg", "tif", "png", "tif", "jpg"), 1)),
]


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hold_the_pixels_that_pillow_reads(
    tmp_path: Path, picture: np.ndarray, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, picture, kind)
    whole = read_image(path)
    small = np.asarray(Image.fromarray(whole).resize((41, 23), Image.Resampling.BILINEAR))
    # what Pillow multiplies out of the colours and in again is rounded twice
    tolerance = 2 if kind == "alpha multiplied in.tif" else 0
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr("magnet.images.vips_file._STRIP_PIXELS", 700)
    image = open_image(path)
    assert image.large and image.size == whole.shape[:2]
    height, width = image.size
    for box in ((0, 0, width, height), (3, 50, 40, 51), (width - 9, height - 7, width, height), (1, 2, 30, 9)):
        x0, y0, x1, y1 = box
        window = image.read(box)
        assert window.dtype == np.uint8 and window.shape == (y1 - y0, x1 - x0, 3)
        assert np.abs(window.astype(int) - whole[y0:y1, x0:x1]).max() <= tolerance
    found = image.resized((23, 41)).astype(int)
    assert np.abs(found - small).max() <= max(tolerance, 1) and np.abs(found - small).mean() < 0.05


@pytest.mark.parametrize("size", [(90, 130), (1, 1), (89, 129), (7, 130), (90, 11), (200, 300), (44, 400), (300, 20)])
def test_strips_are_resized_as_the_whole_would_be(
    tmp_path: Path, picture: np.ndarray, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, picture, "RGB.png")
    expected = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.array_equal(open_image(path).resized(size), expected)  # as a whole
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for rows in (1, 2, 7, 64, 1000):
        monkeypatch.setattr("magnet.images.vips_file._STRIP_PIXELS", rows * SIZE[1])
        difference = open_image(path).resized(size).astype(int) - expected
        # Pillow rounds between the two directions, and takes them in the order that is faster
        assert np.abs(difference).max() <= 1 and abs(difference.mean()) < 0.05


def test_small_images_have_the_same_interface(tmp_path: Path, picture: np.ndarray) -> None:
    image = open_image(_save(tmp_path, picture, "RGB.png"))
    assert not image.large and image.size == SIZE
    assert np.array_equal(image.read((5, 6, 17, 29)), picture[6:29, 5:17])
    assert np.array_equal(image.at_most((4, 4)), picture)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 131, 5), (0, 85, 5, 91), (7, 0, 5, 5)])
@pytest.mark.parametrize("limit", [1000, 10**8])
def test_boxes_outside_the_image(
    tmp_path: Path, picture: np.ndarray, box: tuple[int, int, int, int], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    image = open_image(_save(tmp_path, picture, "RGB.png"))
    with pytest.raises(ValueError, match=r"^box: expected 0 <= x0 < x1 <= 130 and 0 <= y0 < y1 <= 90, got \("):
        image.read(box)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_files_are_named(
    tmp_path: Path, picture: np.ndarray, suffix: str, keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, picture, f"RGB.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(CorruptImageError, match=rf"'.*x\.{suffix}' is corrupt or not an image.*replace") as caught:
        open_image(path).resized((10, 10))
    assert "\n" not in str(caught.value)
    with pytest.raises(CorruptImageError, match=rf"x\.{suffix}"):
        open_image(path).read((100, 80, 110, 90))


def test_what_is_not_read_by_window_is_refused(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(picture).save(tmp_path / "x.bmp")
    Image.fromarray(picture[..., 0].astype(np.float32)).save(tmp_path / "f.tif")
    for name in ("x.bmp", "f.tif"):
        with pytest.raises(CorruptImageError, match=name) as caught:
            open_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_read_image_says_how_to_read_it(tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path, picture, "RGB.png")
    for limit in (1000, 10_000):  # Pillow raises beyond twice the limit, and warns below
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(LargeImageError, match=r"x\.png' has more pixels .*magnet\.images"):
            read_image(path)


def test_without_libvips_the_extra_is_named(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "pyvips":
            raise ModuleNotFoundError("No module named 'pyvips'")
        return real(name, *rest, **more)

    path = _save(tmp_path, picture, "RGB.png")
    monkeypatch.setattr(builtins, "__import__", without)
    assert open_image(path).size == SIZE  # not needed here
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MagNetError, match=r"pip install 'pyvips\[binary\]>=3'") as caught:
        open_image(path)
    assert not isinstance(caught.value, CorruptImageError)  # nothing is wrong with the file


def test_labels_keep_their_values(tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnet.images.vips_file._STRIP_PIXELS", 5 * SIZE[1])
    labels = picture[..., 0] // 32
    rows, columns = ((np.arange(n) + 0.5) * full / n for n, full in zip((31, 57), SIZE, strict=True))
    at = np.ix_(rows.astype(int), columns.astype(int))
    for suffix in ("png", "tif"):
        Image.fromarray(labels).save(tmp_path / f"l.{suffix}")
        assert np.array_equal(read_nearest(tmp_path / f"l.{suffix}", (31, 57)), labels[at])
        Image.fromarray(picture).save(tmp_path / f"c.{suffix}")
        assert np.array_equal(read_nearest(tmp_path / f"c.{suffix}", (31, 57)), picture[at])
        Image.fromarray(labels > 3).save(tmp_path / f"b.{suffix}")
        assert np.array_equal(read_nearest(tmp_path / f"b.{suffix}", (31, 57)), (labels > 3)[at])
    write_png16(tmp_path / "deep.png", picture.astype(np.uint16))
    with pytest.raises(CorruptImageError, match=r"deep\.png.*labels of 8 bits"):
        read_nearest(tmp_path / "deep.png", (31, 57))


def test_data_sets_read_large_images_shrunk_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path, size=(64, 96))
    data = DataFolder(folder, "train")
    image, labels = data.load(0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 6144 pixels; a third each way is 672
    assert data.size(0) == (21, 32) == fitting_size((64, 96))
    small, few = data.load(0)
    assert small.shape == (21, 32, 3) and few.shape == (21, 32)
    expected = np.asarray(Image.fromarray(image).resize((32, 21), Image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - expected).max() <= 1
    assert np.array_equal(few, resize_labels(labels, (21, 32)))
    label_file = data.label_path(0)
    Image.fromarray(np.dstack([labels] * 3)).save(label_file)
    with pytest.raises(MagNetError, match=r"^labels: expected an 8-bit image of class ids, got colours: .*p0\.png"):
        data.load(0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**8)
    assert fitting_size((64, 96)) == (64, 96) and fitting_size((30_000, 30_000)) == (10_000, 10_000)


# Past the real limit: 196 million pixels, where Pillow stops at 179.
GIANT = (14_000, 14_000)

_MEASURE = """
import sys
import numpy as np, pyvips, torch
from magnet import MagNet
from magnet.evaluation.meter import peak_memory  # of this process: getrusage's is at least its parent's
from magnet.images.large import open_image
peak = lambda: int(peak_memory(torch.device("cpu")))
model = MagNet.from_pretrained(sys.argv[2])
model.predict(np.zeros((64, 128, 3), np.uint8))
before = peak()
if sys.argv[3] == "windows":
    image = open_image(sys.argv[1])
    small = image.resized((350, 350))
    window = image.read((6990, 7180, 7110, 7220))
    print(image.large, image.size, *(part[0, 0].tolist() for part in (small, small[-10:], window, window[-1:])))
else:
    found = model.predict(sys.argv[1])
    print(found.image_size, tuple(found.labels.shape), tuple(found.labels_in((5, 13990, 7000, 14000)).shape))
print(peak() - before)
"""


def _measure(path: Path, what: str) -> tuple[str, int]:
    """What was found, and the memory it took, in MiB, beyond that of a small image."""
    words = [str(path), str(save_tiny_model(path.parent / "model")), what]
    command = [sys.executable, "-P", "-c", _MEASURE, *words]
    run = subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program())
    assert run.returncode == 0, run.stderr
    found, memory = run.stdout.splitlines()
    return found, int(memory)


@pytest.mark.slow
def test_windows_of_a_large_tiff_in_little_memory(tmp_path: Path) -> None:
    """Red above blue; as one array it would take 561 MiB."""
    tiles = [np.full((400, 400, 3), colour, np.uint8) for colour in ((250, 10, 20), (10, 20, 240))]
    write_tiles(tmp_path / "giant.tif", GIANT, tiles, lambda i, j: int(i * 400 >= GIANT[0] // 2))
    found, memory = _measure(tmp_path / "giant.tif", "windows")
    red, blue = "[250, 10, 20]", "[10, 20, 240]"
    assert found == f"True {GIANT} {red} {blue} {red} {blue}" and memory < 280


@pytest.mark.slow
def test_prediction_of_a_large_png_in_little_memory(tmp_path: Path) -> None:
    """One bit a pixel, white above black; as one array of RGB it would take 561 MiB, as floats 2243."""
    rows, row = GIANT[0] // 2, GIANT[1] // 8
    write_png(tmp_path / "giant.png", GIANT, 1, 0, (b"\0" + b"\xff" * row) * rows + bytes(1 + row) * rows)
    found, memory = _measure(tmp_path / "giant.png", "prediction")
    assert found == f"{GIANT} (64, 128) (10, 6995)" and memory < 280
