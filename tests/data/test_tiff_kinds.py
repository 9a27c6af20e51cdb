"""Every kind of TIFF: the right pixels or the right words, and the same from Pillow and from libvips."""

from __future__ import annotations

import itertools
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from tiff_files import write_packed, write_strips, write_tiles

from magnet.data.labels import read_labels
from magnet.errors import MagNetError
from magnet.images.large import open_image
from magnet.images.read import CorruptImageError, read_image, rgb_array

SIZE = (11, 13)
GREY, RGB, CMYK = 1, 2, 5


class Kind(NamedTuple):
    """One kind of TIFF: its samples, and what ``refused`` says of it, or what is read."""

    dtype: str
    bands: int
    meaning: int
    extra: tuple[int, ...] | None = None
    refused: str = ""
    left_out: str = ""


EIGHT_OR_16, FIVE = "expected 8 or 16 bits a channel, got a TIFF of ", "expected grey, RGB or CMYK, got a TIFF of "
KINDS = [
    Kind("u1", 1, GREY),
    Kind("u1", 3, RGB),
    Kind("u1", 4, CMYK),
    Kind("u2", 1, GREY),
    Kind("u2", 3, RGB),
    Kind("u2", 4, CMYK),
    Kind("u1", 2, GREY, (2,)),
    Kind("u1", 4, RGB, (2,)),
    Kind("u2", 4, RGB, (2,)),
    Kind("u1", 2, GREY, (0,), left_out="2 of 2"),
    Kind("u1", 4, RGB, None, left_out="4 of 4"),
    Kind("u1", 4, RGB, (0,), left_out="4 of 4"),
    Kind("u2", 4, RGB, None, left_out="4 of 4"),
    Kind("u2", 4, RGB, (0,), left_out="4 of 4"),
    Kind("u1", 5, RGB, (0, 0), left_out="4, 5 of 5"),
    Kind("u1", 5, RGB, (2, 0), left_out="5 of 5"),
    Kind("u1", 5, CMYK, (0,), left_out="5 of 5"),
    Kind("u1", 2, GREY, None, f"{FIVE}2 bands of 8 bits (grey)"),
    Kind("u2", 2, GREY, (2,), f"{FIVE}2 bands of 16 bits (grey)"),
    Kind("u1", 3, GREY, (0, 0), f"{FIVE}3 bands of 8 bits (grey)"),
    Kind("u1", 4, GREY, (0, 0, 0), f"{FIVE}4 bands of 8 bits (grey)"),
    Kind("u1", 5, GREY, (0,) * 4, f"{FIVE}5 bands of 8 bits (grey)"),
    Kind("u2", 5, RGB, (0, 0), f"{FIVE}5 bands of 16 bits (RGB)"),
    Kind("u2", 5, CMYK, (0,), f"{FIVE}5 bands of 16 bits (CMYK)"),
    Kind("u1", 2, RGB, None, f"{FIVE}2 bands of 8 bits (RGB)"),
    *(
        Kind(
            dtype, bands, GREY if bands == 1 else RGB, None, f"{EIGHT_OR_16}{bands} band{'s' * (bands > 1)} of {words}"
        )
        for dtype, words in (
            ("i1", "8 signed bits"),
            ("i2", "16 signed bits"),
            ("i4", "32 signed bits"),
            ("u4", "32 bits"),
            ("f4", "32 float bits"),
            ("f8", "64 float bits"),
        )
        for bands in (1, 3)
    ),
    Kind("c8", 1, GREY, None, "expected 8 or 16 bits of grey, RGB or CMYK, got a TIFF of 1 band of 64 complex bits"),
]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No folder has been warned of."""
    monkeypatch.setattr("magnet.notices._FILES", {})
    monkeypatch.setattr("magnet.notices._TOLD", {})
    yield


def samples(kind: Kind) -> np.ndarray:
    rng = np.random.default_rng(len(str(kind)))
    high = {"u1": 256, "i1": 128, "u2": 2**16, "i2": 2**15}.get(kind.dtype, 200)
    return rng.integers(0, high, (*SIZE, kind.bands)).astype(kind.dtype)


def expected(kind: Kind, pixels: np.ndarray) -> np.ndarray:
    """What the rules of ``magnet.images.read`` make of the samples, by numpy alone."""
    if kind.dtype == "u2":
        pixels = np.rint(pixels / 257) if kind.bands == 1 else pixels >> 8
    pixels = pixels.astype(np.float64)
    colours = {GREY: 1, RGB: 3, CMYK: 4}[kind.meaning]
    alpha = pixels[..., colours : colours + 1] / 255 if (kind.extra or (0,))[0] == 2 else 1.0
    pixels = pixels[..., :colours]
    if kind.meaning == CMYK:
        pixels = (255 - pixels[..., :3]) * (255 - pixels[..., 3:]) / 255
    return np.broadcast_to(pixels * alpha, (*SIZE, 3))


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray | str]:
    """What Pillow's way and the way of large files give: pixels, or the words of the error without the path."""
    found: list[np.ndarray | str] = []
    with monkeypatch.context() as patch:
        for _ in range(2):
            try:
                image = open_image(path)
                found.append(image.read((0, 0, image.size[1], image.size[0])))
                whole = image.resized(image.size)
                assert np.array_equal(found[-1], whole)
            except MagNetError as error:
                assert isinstance(error, CorruptImageError) and str(path) in str(error) and "\n" not in str(error)
                found.append(str(error).replace(f"'{path}'", "X"))
            patch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_pixels_or_words(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Interleaved or in planes, compressed or not: planes may be refused, and are never lost."""
    pixels = samples(kind)
    planes = 0
    for compressed, separate in itertools.product((False, True), repeat=2):
        path = tmp_path / f"x{compressed}{separate}.tif"
        write_strips(
            path,
            pixels,
            extra=kind.extra,
            compressed=compressed,
            separate=separate,
            rows=4,
            tags={262: [kind.meaning]},
        )
        found = both(path, monkeypatch)
        for one in found:
            if isinstance(one, str):
                in_planes = separate and "separate planes" in one
                planes += in_planes
                assert in_planes or (kind.refused and kind.refused in one.replace(" in separate planes", "")), one
            else:
                assert not kind.refused and np.abs(one - expected(kind, pixels)).max() <= 1, (compressed, separate)
        assert np.array_equal(found[0], found[1])
    assert planes < 8
    told = [message for message in caplog.messages if "does not call alpha" in message]
    assert len(told) == bool(kind.left_out)
    if kind.left_out:
        assert f"(near infrared?): {kind.left_out}, which are left out" in told[0]


@pytest.mark.parametrize("tags", [(340, 341), (280, 281)])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("u2", 0, 4095),
        ("u2", 100, 10_000),
        ("i2", 0, 1000),
        ("u4", 0, 255),
        ("i4", 5, 60_000),
        ("f4", 0, 1),
    ],
)
def test_the_range_that_the_file_says(
    tmp_path: Path, dtype: str, low: int, high: int, tags: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = np.linspace(-0.2, 1.2, 143).reshape(SIZE)
    values = low + share * (high - low)
    values = (np.maximum(values, 0) if dtype[0] == "u" else values).astype(dtype)
    path = tmp_path / "x.tif"
    write_strips(path, values[..., None], tags={tags[0]: [low], tags[1]: [high]})
    right = np.rint(((values.astype(float) - low) / (high - low)).clip(0, 1) * 255)
    for found in both(path, monkeypatch):
        assert not isinstance(found, str), found
        assert np.array_equal(found, np.dstack([right] * 3))
    assert right.min() == 0 and right.max() == 255


def test_a_range_goes_by_the_tags_of_floats_first_and_may_lie_below_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.array([[-2, -1, 0, np.nan]], np.float32)[..., None].repeat(20, 0)
    write_strips(tmp_path / "x.tif", values, tags={340: [-2], 341: [0], 280: [0], 281: [1]})
    for found in both(tmp_path / "x.tif", monkeypatch):
        assert not isinstance(found, str) and found[0, :, 0].tolist() == [0, 128, 255, 0]


def test_twelve_bits_are_scaled_by_twelve_bits(tmp_path: Path) -> None:
    values = np.arange(0, 4096, 64).reshape(8, 8)
    write_packed(tmp_path / "x.tif", values, 12)
    assert np.array_equal(read_image(tmp_path / "x.tif")[..., 0], np.rint(values / 4095 * 255))


def test_deep_colour_whose_file_says_that_it_is_dark_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((*SIZE, 3), 4000, np.uint16)
    write_strips(tmp_path / "x.tif", pixels, tags={281: [4095] * 3})
    for found in both(tmp_path / "x.tif", monkeypatch):
        assert isinstance(found, str) and "but the file says 0..4095, got" in found
    write_strips(tmp_path / "x.tif", pixels * 16, tags={281: [65000] * 3})
    for found in both(tmp_path / "x.tif", monkeypatch):
        assert not isinstance(found, str) and (found == 250).all()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_white_is_zero(
    tmp_path: Path, dtype: str, separate: bool, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = samples(Kind(dtype, 1, GREY))
    tags: dict[int, Sequence[float]] = {262: [0]}
    write_strips(tmp_path / "x.tif", pixels, separate=separate, compressed=compressed, tags=tags)
    pillow, vips = both(tmp_path / "x.tif", monkeypatch)
    if separate and not compressed:
        assert isinstance(pillow, str) and isinstance(vips, str) and "separate planes" in pillow
    else:
        top = np.iinfo(dtype).max
        assert np.array_equal(pillow, np.repeat(np.rint((top - pixels.astype(float)) / top * 255), 3, axis=2))
        assert np.array_equal(pillow, vips)


@pytest.mark.parametrize("tiled", [False, True])
def test_pieces_that_are_too_short_for_their_pixels(
    tmp_path: Path, tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressed pixels under a head that lost its word on compression pass for raw ones."""
    path, pixels = tmp_path / "x.tif", np.full((32, 48, 3), 200, np.uint8)
    if tiled:
        write_tiles(path, (32, 48), [pixels[:16, :16]], lambda i, j: 0)
    else:
        write_strips(path, pixels, rows=8, compressed=True)
    content = bytearray(path.read_bytes())
    at = content.index(b"\x03\x01\x03\0\x01\0\0\0\x08\0")
    content[at + 8] = 1
    path.write_bytes(content)
    for found in both(path, monkeypatch):
        assert isinstance(found, str) and "bytes fewer than its pixels need; write it anew" in found


@pytest.mark.parametrize("compression", [1, 8])
def test_a_tile_that_reaches_beyond_the_file(tmp_path: Path, compression: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tif"
    tile = np.full((16, 16, 3), 200, np.uint8)
    write_tiles(path, (32, 48), [tile], lambda i, j: 0)
    content = bytearray(path.read_bytes())
    lengths = struct.pack("<I", len(zlib.compress(tile.tobytes()))) * 6
    content[content.index(lengths) + len(lengths) - 2] = 9  # the last, times 65536
    content[content.index(b"\x03\x01\x03\0\x01\0\0\0\x08\0") + 8] = compression
    path.write_bytes(content)
    for found in both(path, monkeypatch):
        assert isinstance(found, str) and "bytes fewer than its pixels need; write it anew" in found


@pytest.mark.parametrize("kind", ["strips", "packed strips", "planes", "tiles", "empty strip"])
def test_tables_that_are_too_short(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pixels = tmp_path / "x.tif", np.full((40, 48, 3), 200, np.uint8)
    tile = np.full((16, 16, 3), 200, np.uint8)
    if kind == "tiles":
        write_tiles(path, (40, 48), [tile], lambda i, j: 0)
        assert (read_image(path) == 200).all()
        write_tiles(path, (40, 48), [tile], lambda i, j: 0, keep=1)
        said = "1 of its 9"
    elif kind == "empty strip":
        write_strips(path, pixels, rows=8, tags={})
        content = bytearray(path.read_bytes())
        start = content.index((8 * 48 * 3).to_bytes(4, "little") * 5)
        content[start : start + 4] = bytes(4)
        path.write_bytes(content)
        said = "4 of its 5"
    else:
        separate = kind == "planes"
        write_strips(path, pixels, rows=8, keep=2, compressed=kind == "packed strips", separate=separate)
        said = f"2 of its {15 if separate else 5}"
    for found in both(path, monkeypatch):
        assert (
            isinstance(found, str)
            and f"expected a whole TIFF, got {said} strips or tiles; write the file anew" in found
        )
    if kind == "tiles":
        with pytest.raises(CorruptImageError, match="whole TIFF"), Image.open(path) as image:
            rgb_array(image)


def test_planes_in_pages_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tif"
    page, small = Image.new("L", (40, 30), 9), Image.new("L", (20, 15), 9)
    for more, refused in (([page], True), ([small], False)):
        page.save(path, save_all=True, append_images=more)
        for found in both(path, monkeypatch):
            assert isinstance(found, str) == refused
            if refused:
                assert "a TIFF of 2 pages of one size" in str(found) and "page=N, --page N" in str(found)
    page.save(path, description="ImageJ=1.53\nimages=4\nchannels=4\n")
    for found in both(path, monkeypatch):
        assert isinstance(found, str) and "several planes in one page" in found


def test_a_thumbnail_before_the_picture_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tif"
    pages = {size: Image.new("L", size, 9) for size in ((24, 16), (20, 10), (96, 64))}
    told = "first page is 16x24 (HxW), and another one 64x96, while only the first is read; predict one by its number"
    for order, refused in (
        ([(24, 16), (96, 64)], True),
        ([(24, 16), (20, 10), (96, 64)], True),
        ([(96, 64), (24, 16), (20, 10)], False),
    ):
        pages[order[0]].save(path, save_all=True, append_images=[pages[size] for size in order[1:]])
        for found in both(path, monkeypatch):
            assert (isinstance(found, str) and told in found) if refused else not isinstance(found, str)
    # a later page of one size, after a smaller one
    pages[24, 16].save(path, save_all=True, append_images=[pages[20, 10], pages[24, 16]])
    for found in both(path, monkeypatch):
        assert isinstance(found, str) and "a TIFF of 2 pages of one size" in found


def test_pages_that_are_copies_or_below_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that says that it is a mask is none of the pictures; one that is listed below the first, as in DNG, is."""
    path = tmp_path / "x.tif"
    small, large = Image.new("L", (24, 16), 9), Image.new("L", (96, 64), 9)
    small.save(path, save_all=True, append_images=[large], tiffinfo={254: 4})
    for found in both(path, monkeypatch):
        assert not isinstance(found, str)
    small.save(path, save_all=True, append_images=[large], tiffinfo={330: 0})
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * entries)
    at = next(
        at for at in range(first + 2, first + 2 + 12 * entries, 12) if struct.unpack_from("<H", content, at) == (330,)
    )
    content[at : at + 12] = struct.pack("<HHII", 330, 4, 1, second)
    content[first + 2 + 12 * entries : first + 6 + 12 * entries] = bytes(4)
    path.write_bytes(content)
    for found in both(path, monkeypatch):
        assert isinstance(found, str) and "another one 64x96" in found
    content[at : at + 12] = struct.pack("<HHII", 330, 4, 1, first)  # a circle
    path.write_bytes(content)
    for found in both(path, monkeypatch):
        assert not isinstance(found, str)


@pytest.mark.parametrize(
    ("dtype", "values", "outside", "seen"),
    [
        ("f4", [0.0, 0.5, 1.0, np.nan, -9999.0, np.inf], 3, [0, 128, 255, 0, 0, 255]),
        ("u2", [0, 2047, 4095, 4096, 65535, 9], 2, [0, 127, 255, 255, 255, 1]),
        ("i2", [0, 500, 1000, -1, -32768, 9], 2, [0, 128, 255, 0, 0, 2]),
        ("u2", [0, 2047, 4095, 1, 2, 9], 0, [0, 127, 255, 0, 0, 1]),
    ],
)
def test_values_outside_of_the_stated_range_are_told_of(
    tmp_path: Path,
    dtype: str,
    values: list[float],
    outside: int,
    seen: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    most = {"f4": 1, "u2": 4095, "i2": 1000}[dtype]
    pixels = np.array([values], dtype)[..., None].repeat(20, 0)
    write_strips(tmp_path / "x.tif", pixels, tags={340: [0], 341: [most]})
    for found in both(tmp_path / "x.tif", monkeypatch):
        assert not isinstance(found, str) and found[0, :, 0].tolist() == seen
    told = [message for message in caplog.messages if "states values from" in message]
    assert len(told) == (outside > 0)
    if outside:
        assert f"x.tif' states values from 0 to {most}, but {20 * outside} of 120 are none of these" in told[0]
        assert "come out black or white; state the range" in told[0]


@pytest.mark.parametrize("times", [1, 257])
def test_palette_entries_of_8_bits_are_taken_as_they_are_meant(
    tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format wants 16 bits; some writers store 8."""
    path = tmp_path / "x.tif"
    indices = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    colours = np.array([[200, 10, 30], [0, 250, 7], [90, 20, 255]])
    entries = np.zeros((3, 256), int)
    entries[:, :3] = colours.T * times
    write_strips(path, indices[..., None], tags={262: [3], 320: entries.ravel().tolist()})
    for found in both(path, monkeypatch):
        assert np.array_equal(found, colours[indices])
    assert np.array_equal(read_labels(path, 3), indices)


def test_raw_ycbcr_does_not_pass_for_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (40, 30), (250, 20, 30))
    picture.convert("YCbCr").save(tmp_path / "x.tif")
    pillow, vips = both(tmp_path / "x.tif", monkeypatch)
    assert not isinstance(pillow, str) and np.abs(pillow.astype(int) - [250, 20, 30]).max() < 3
    assert isinstance(vips, str) and "YCbCr" in vips
    picture.convert("YCbCr").save(tmp_path / "x.tif", compression="jpeg", quality=95)
    for found in both(tmp_path / "x.tif", monkeypatch):
        assert not isinstance(found, str) and np.abs(found.astype(int) - [250, 20, 30]).max() < 6


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_deep_images_that_are_dark_are_told_once_a_folder(
    tmp_path: Path, bands: int, suffix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from png_files import write_png16

    from magnet.notices import sum_up

    for name, most in (("a", 4095), ("b", 4095), ("c", 12000)):
        deep = np.full((*SIZE, bands), most, np.uint16)
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "tif":
            write_strips(path, deep)
        elif bands == 1:
            Image.fromarray(deep[..., 0]).save(path)
        else:
            write_png16(path, deep)
        pillow, vips = both(path, monkeypatch)
        assert np.array_equal(pillow, vips)
    told = (
        f"a.{suffix}' has 16 bits, but 99% of its values lie below 4096 of 65536, and it comes out nearly black; scale"
    )
    assert len(caplog.messages) == 1 and told in caplog.messages[0]
    assert caplog.records[0].levelno == logging.WARNING and caplog.records[0].name == "magnet"
    for _ in range(2):
        sum_up()
    assert caplog.messages[1:] == [f"image: 2 images of '{tmp_path}' use less than a sixth of the range of 16 bits"]


@pytest.mark.parametrize("kind", ["strips", "tiles", "packed", "floats", "png"])
def test_damage_gives_an_error_or_the_same_pixels(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    pixels, path = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), tmp_path / "x.img"
    if kind == "tiles":
        write_tiles(path, (24, 32), [pixels[:16, :16]], lambda i, j: 0)
    elif kind == "floats":
        write_strips(path, pixels[..., :1].astype(np.float32), rows=5, tags={340: [0], 341: [255]})
    elif kind == "png":
        Image.fromarray(pixels).save(path, "PNG")
    else:
        write_strips(path, pixels, rows=5, compressed=kind == "packed")
    good = path.read_bytes()
    outcomes = {True: 0, False: 0}
    for _ in range(40):
        bad = bytearray(good)
        for at in rng.integers(0, 260, rng.integers(0, 4)):
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bad if rng.random() < 0.7 else bad[: rng.integers(1, len(bad))])
        found = both(path, monkeypatch)
        outcomes[isinstance(found[0], str)] += 1
        if not any(isinstance(one, str) for one in found):
            assert np.array_equal(found[0], found[1])
    assert min(outcomes.values()) > 3


def test_a_compression_that_is_not_decoded_is_told(tmp_path: Path) -> None:
    pyvips = pytest.importorskip("pyvips")
    path = tmp_path / "x.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    try:
        pyvips.Image.new_from_array(pixels).tiffsave(str(path), compression="webp", lossless=True)
    except pyvips.Error:
        pytest.skip("this libvips writes no WebP into a TIFF")
    try:
        found = read_image(path)
    except CorruptImageError as error:
        assert "got compression 50001, which Pillow does not decode here; save it anew" in str(error)
    else:
        assert np.array_equal(found, pixels)


def test_the_same_picture_turned_is_another_page(tmp_path: Path) -> None:
    first = Image.fromarray(np.zeros((10, 20, 3), np.uint8))
    first.save(tmp_path / "x.tif", save_all=True, append_images=[first.rotate(90, expand=True)])
    with pytest.raises(CorruptImageError, match=r"first page is 10x20 \(HxW\), and another one 20x10"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_told(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    pictures = [Image.new("RGB", (20, 10), (value, 0, 0)) for value in (0, 100, 200)]
    path = tmp_path / f"x.{kind.lower()}"
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:])
    assert read_image(path).shape == (10, 20, 3)
    (told,) = caplog.messages
    assert "holds 3 pictures, of which the first is read; save the one that is meant" in told
    caplog.clear()
    pictures[0].save(path, kind)
    assert read_image(path).shape == (10, 20, 3) and not caplog.messages
