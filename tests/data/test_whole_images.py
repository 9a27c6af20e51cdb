"""Files whose data end early as if they were whole, and files whose checksums tell that they are damaged."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from png_files import write_png
from tiff_files import write_strips, write_tiles

from magnet.data.labels import read_labels
from magnet.images.large import open_image
from magnet.images.read import CorruptImageError, read_image

HEIGHT, WIDTH = 35, 52
_PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]  # Adam7


def picture(seed: int = 0) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8, smooth."""
    coarse = np.random.default_rng(seed).integers(20, 230, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT)))


def encoded(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def write_rows(path: Path, pixels: np.ndarray, colour_type: int, keep: int, interlaced: bool = False) -> None:
    """A PNG of the first ``keep`` rows of what (H, W, C) uint8 or uint16 pixels need, and an end as it should be."""
    data = pixels.astype(pixels.dtype.newbyteorder(">"))
    passes = _PASSES if interlaced else [(0, 0, 1, 1)]
    rows = [b"\0" + row.tobytes() for y, x, down, right in passes for row in data[y::down, x::right]]
    write_png(path, pixels.shape[:2], 8 * pixels.itemsize, colour_type, b"".join(rows[:keep]))
    if interlaced:
        content = bytearray(path.read_bytes())
        content[28] = 1
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        path.write_bytes(content)


def refusal(path: Path) -> str:
    with pytest.raises(CorruptImageError) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("colour_type", "channels", "dtype"),
    [(0, 1, "u1"), (2, 3, "u1"), (4, 2, "u1"), (6, 4, "u1"), (0, 1, "u2"), (2, 3, "u2"), (6, 4, "u2")],
)
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_data_that_end_after_a_row(
    tmp_path: Path, colour_type: int, channels: int, dtype: str, interlaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(3).integers(1, 255, (HEIGHT, WIDTH, channels)).astype(dtype)
    path = tmp_path / "x.png"
    write_rows(path, pixels, colour_type, 10**6, interlaced)
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)
    rows = sum(len(range(y, HEIGHT, down)) for y, _, down, _ in _PASSES) if interlaced else HEIGHT
    for keep in (rows - 1, rows // 2, 1):
        write_rows(path, pixels, colour_type, keep, interlaced)
        told = refusal(path)
        assert "expected a whole PNG, got " in told and "bytes fewer than its pixels need; write the file anew" in told
        if not interlaced:
            assert f" {(HEIGHT - keep) * (1 + WIDTH * channels * pixels.itemsize)} bytes" in told
    with monkeypatch.context() as patch, pytest.raises(CorruptImageError):
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
        open_image(path).resized((HEIGHT, WIDTH))


@pytest.mark.parametrize("bits", [1, 8])
def test_png_labels_whose_data_end_early(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "x.png"
    row = b"\0" + (b"\x01" * 24 if bits == 8 else b"\xff" * 3)
    write_png(path, (64, 24), bits, 0, row * 64)
    assert (read_labels(path) == 1).all()
    write_png(path, (64, 24), bits, 0, row * 20)
    with pytest.raises(CorruptImageError, match=rf"got {44 * len(row)} bytes fewer than its pixels need.*x\.png"):
        read_labels(path)


@pytest.mark.parametrize("value", [0, 254, 255])
def test_whole_pngs_of_any_last_row_are_read(tmp_path: Path, value: int) -> None:
    for mode, shape in (("L", ()), ("RGB", (3,)), ("LA", (2,)), ("RGBA", (4,))):
        pixels = np.full((HEIGHT, WIDTH, *shape), value, np.uint8)
        if value == 254 and shape:
            pixels[..., 1] = 1  # the mark itself
        image = Image.fromarray(pixels)
        assert image.mode == mode
        image.save(tmp_path / "x.png")
        assert np.array_equal(read_image(tmp_path / "x.png"), read_image_by_pillow(tmp_path / "x.png")), mode


def read_image_by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    below = Image.new("RGB", rgba.size)
    below.paste(rgba, mask=rgba.getchannel("A"))
    return np.asarray(below)


KINDS = {
    "baseline": {},
    "without subsampling": {"subsampling": 0},
    "optimised": {"optimize": True},
    "restart markers": {"restart_marker_blocks": 4},
    "progressive": {"progressive": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_that_was_cut_and_ends_as_it_should(
    tmp_path: Path, kind: str, grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jpg"
    pixels = picture()[..., 0] if grey else picture()
    whole = encoded(pixels, format="JPEG", quality=95, **KINDS[kind])
    path.write_bytes(whole)
    assert np.abs(read_image(path).astype(int) - (pixels[..., None] if grey else pixels)).mean() < 8
    start = whole.index(b"\xff\xda")
    for share in (0.3, 0.5, 0.7):
        path.write_bytes(whole[: int(start + 20 + share * (len(whole) - start - 20))].rstrip(b"\xff") + b"\xff\xd9")
        told = refusal(path)
        scans = "ends before its last pixel"
        if "lacks" in told:
            scans = {"progressive": "lacks scans", "restart markers": "lacks restart intervals"}[kind]
        assert f"expected a whole JPEG, got one that {scans}; replace the file" in told
        with monkeypatch.context() as patch, pytest.raises(CorruptImageError):
            patch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
            open_image(path).resized((HEIGHT, WIDTH))
        path.write_bytes(path.read_bytes()[:-2] + b"\xff\xe5\0\4ab\xff\xd9")  # and something after the scan
        assert "expected a whole JPEG" in refusal(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_whole_jpegs_that_end_in_grey_are_read(tmp_path: Path, kind: str, mode: str) -> None:
    pixels = picture().copy()
    pixels[16:, 16:] = 128  # as what is missing would be
    path = tmp_path / "x.jpg"
    Image.fromarray(pixels).convert(mode).save(path, quality=95, **KINDS[kind])
    found = read_image(path)
    assert np.abs(found[-1, -1].astype(int) - 128).max() < 3
    other = Image.new("RGB", (20, 10), (200, 0, 0))
    if mode == "RGB":
        Image.fromarray(pixels).save(tmp_path / "y.jpg", "MPO", save_all=True, append_images=[other], quality=95)
        assert np.abs(read_image(tmp_path / "y.jpg")[-1, -1].astype(int) - 128).max() < 3
    path.write_bytes(path.read_bytes() + b"\xff\xd8 more pictures \xff\xd9")  # as cameras append them
    assert np.array_equal(read_image(path), found)


def damaged(good: bytes, whole: np.ndarray, path: Path) -> bytes:
    """A deflate TIFF with one byte changed, of which Pillow gives other pixels without a word."""
    rng = np.random.default_rng(7)
    while True:
        bad = bytearray(good)
        bad[rng.integers(len(good) // 4, len(good) * 3 // 4)] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with contextlib.suppress(OSError), Image.open(path) as image:
            if (np.asarray(image) != whole).any():
                return bytes(bad)


@pytest.mark.parametrize("layout", ["strips", "tiles"])
@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "u1"), (3, "u1"), (1, "u2")])
def test_damaged_bytes_of_a_deflate_tiff(tmp_path: Path, layout: str, turned: int, channels: int, dtype: str) -> None:
    """libtiff leaves out the checksum that tells of them."""
    path = tmp_path / "x.tif"
    pixels = np.ascontiguousarray(np.resize(picture()[:32, :48, :channels], (96, 144, channels)).astype(dtype))
    if layout == "tiles" and dtype == "u1":
        write_tiles(path, (96, 144), [pixels[:48, :48], pixels[48:, 48:96]], lambda i, j: (i + j) % 2, turned=turned)
    else:
        write_strips(path, pixels, rows=32, compressed=True, tags={274: [turned]})
    with Image.open(path) as image:
        whole = np.array(image)
    for upright in (False, True):
        read_image(path, upright=upright)
    good = path.read_bytes()
    bad = damaged(good, whole, path)
    for upright in (False, True):
        path.write_bytes(bad)
        with pytest.raises(CorruptImageError, match=r"whole TIFF, got damaged data at byte \d+ \(.*x\.tif"):
            read_image(path, upright=upright)
    if (channels, dtype) == (1, "u1"):
        with pytest.raises(CorruptImageError, match="damaged data"):
            read_labels(path)
        path.write_bytes(good)
        assert read_labels(path).shape == (96, 144)


def test_a_tile_of_a_large_tiff_that_cannot_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvips makes a black tile of it, and goes on."""
    path, tile = tmp_path / "x.tif", np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_tiles(path, (128, 128), [tile // 2, tile], lambda i, j: int(i == j == 1))
    content = bytearray(path.read_bytes())
    at = content.index(zlib.compress(tile.tobytes())) + 9
    content[at : at + 60] = b"\xff" * 60
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert np.array_equal(open_image(path).read((0, 0, 64, 64)), tile // 2)
    path.write_bytes(content)
    image = open_image(path)
    assert np.array_equal(image.read((0, 0, 64, 64)), tile // 2)  # of a tile that is whole
    for _ in range(2):
        with pytest.raises(CorruptImageError, match=r"x\.tif' is corrupt or not an image \(tiff2vips: "):
            image.read((64, 64, 128, 128))
    with pytest.raises(CorruptImageError, match="tiff2vips"):
        open_image(path).resized((40, 40))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
@pytest.mark.parametrize("options", [{}, {"tile": True, "tile_width": 16, "tile_height": 16}])
@pytest.mark.parametrize("predictor", ["none", "horizontal"])
def test_deflate_tiffs_of_others_are_read_and_not_inflated_twice(
    tmp_path: Path, mode: str, options: dict[str, Any], predictor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyvips = pytest.importorskip("pyvips")
    source, path = tmp_path / "x.png", tmp_path / "x.tif"
    Image.fromarray(picture()).convert(mode).save(source)
    image = pyvips.Image.new_from_file(str(source))
    image.tiffsave(str(path), compression="deflate", predictor=predictor, **options)
    inflated = []

    def counted() -> Any:
        inflated.append(1)
        return real()

    real = zlib.decompressobj
    monkeypatch.setattr("magnet.images.deflate.zlib.decompressobj", counted)
    assert np.array_equal(read_image(path), read_image(source))
    inner = (HEIGHT // 16) * (WIDTH // 16)
    assert len(inflated) <= (4 * 3 - inner if options else 0) or mode == "1"


def test_jpeg_that_was_cut_with_fill_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    whole = encoded(picture(), format="JPEG", quality=95)
    for fill in (1, 2, 1000):
        path.write_bytes(whole[:-2] + b"\xff" * fill + b"\xff\xd9")
        assert read_image(path).shape == (HEIGHT, WIDTH, 3)  # as many as one likes
        path.write_bytes(whole[: len(whole) // 2] + b"\xff" * fill + b"\xff\xd9")
        assert "one that ends before its last pixel" in refusal(path)


@pytest.mark.parametrize("kind", ["baseline", "optimised"])
def test_jpeg_whose_rest_was_never_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    whole = encoded(noise, format="JPEG", quality=90, **KINDS[kind])
    kept = len(whole) * 3 // 10
    path.write_bytes(whole[:kept] + bytes(len(whole) - kept))
    assert "image: expected a" in refusal(path)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_that_lacks_restart_intervals(tmp_path: Path, grey: bool, subsampling: int) -> None:
    path = tmp_path / "x.jpg"
    pixels = picture()[..., 0] if grey else picture()
    whole = encoded(pixels, format="JPEG", quality=95, restart_marker_blocks=2, subsampling=subsampling)
    path.write_bytes(whole)
    assert read_image(path).shape[:2] == pixels.shape[:2]
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", whole)]
    assert len(marks) > 3
    path.write_bytes(whole[: marks[len(marks) // 2]] + b"\xff\xd9")
    assert "expected a whole JPEG" in refusal(path)
    path.write_bytes(whole[: marks[1]] + whole[marks[-2] :])  # from the middle
    assert "expected a whole JPEG, got one that lacks restart intervals; replace the file" in refusal(path)


def test_jpeg_that_was_cut_where_colour_comes_in_from_the_blocks_beside(tmp_path: Path) -> None:
    """The last blocks have one column: its colour is that of the column before, its brightness that of what lacks."""
    path = tmp_path / "x.jpg"
    for seed in range(20):
        pixels = np.random.default_rng(seed).integers(0, 256, (33, 17, 3), dtype=np.uint8)
        whole = encoded(pixels, format="JPEG", quality=90)
        scan = whole.index(b"\xff\xda")
        path.write_bytes(whole[: scan + 20 + (len(whole) - scan) // 2].rstrip(b"\xff") + b"\xff\xd9")
        assert "one that ends before its last pixel" in refusal(path)
