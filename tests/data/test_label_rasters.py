"""Labels read by window: the same as of the whole file, pixels without a value ignored, other tiles left alone."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from raster_files import noise, smooth, write_tiff
from rasterio import Affine

from magnet.data import FileLists
from magnet.data.check import check_split
from magnet.data.labelled_files import LabelledFiles
from magnet.data.labels import ClassColours, ClassIds, open_labels
from magnet.data.unreadable import leave_out_unreadable
from magnet.errors import MagNetError
from magnet.images.rasters.input_settings import InputSettings

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

PLACE = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 4e5, 0, -0.5, 5.8e6)}
_RGBA = ["red", "green", "blue", "alpha"]
COLOURS = {(255, 0, 0): 0, (0, 255, 0): 1, (0, 0, 255): 2}


def ids(height: int, width: int, classes: int = 3) -> np.ndarray:
    return (smooth(height, width, 1)[..., 0] // (256 // classes + 1)).astype(np.uint8)


def data(folder: Path, image: str, labels: str) -> FileLists:
    (folder / "train.txt").write_text(f"{image}\t{labels}\n")
    return FileLists(folder, "train", file=folder / "train.txt", class_names=["a", "b", "c"])


def windows(size: tuple[int, int], count: int = 12) -> list[tuple[int, int, int, int]]:
    rng = np.random.default_rng(0)
    found = [(0, 0, size[1], size[0])]
    for _ in range(count):
        x, y = (np.sort(rng.choice(length + 1, 2, replace=False)) for length in (size[1], size[0]))
        found.append((int(x[0]), int(y[0]), int(x[1]), int(y[1])))
    return found


KINDS = ("deflate", "strips", "lzw", "planes", "nodata", "mask", "alpha", "palette", "16 bits", "signed", "jp2")


def write_labels(path: Path, kind: str, labels: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """A label file; returns what it means."""
    pixels, wanted = labels[..., None].copy(), labels.copy()
    if kind == "strips":
        write_tiff(path, pixels, tiled=False, blockysize=7, compress="deflate", **PLACE)
    elif kind == "nodata":
        pixels[holes] = 77
        write_tiff(path, pixels, nodata=77, compress="deflate", **PLACE)
    elif kind == "mask":
        mask = np.where(holes, 0, 255).astype(np.uint8)
        write_tiff(path, pixels, mask=mask, options={"GDAL_TIFF_INTERNAL_MASK": "YES"}, **PLACE)
    elif kind == "alpha":
        both = np.dstack([pixels, np.where(holes, 0, 255).astype(np.uint8)])
        write_tiff(path, both, colours=["gray", "alpha"], **PLACE)
    elif kind == "palette":
        entries = {i: (10 * i, 200 - i, 30, 255) for i in range(3)}
        write_tiff(path, pixels, palette=entries, photometric="palette", **PLACE)
    elif kind == "16 bits":
        deep = pixels.astype(np.uint16)
        deep[holes] = 60000
        write_tiff(path, deep, nodata=60000, **PLACE)
    elif kind == "signed":
        deep = pixels.astype(np.int16)
        deep[holes] = -1
        write_tiff(path, deep, nodata=-1, **PLACE)
    elif kind == "jp2":
        write_tiff(path, pixels, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", BLOCKXSIZE=64, BLOCKYSIZE=64)
    else:
        write_tiff(path, pixels, compress="lzw" if kind == "lzw" else "deflate", **PLACE)
    if kind in ("nodata", "mask", "alpha", "16 bits", "signed"):
        wanted[holes] = 255
    return wanted


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_what_the_file_means(tmp_path: Path, kind: str) -> None:
    labels, holes = ids(201, 330), noise(201, 330, 1)[..., 0] < 60
    path = tmp_path / ("x.jp2" if kind == "jp2" else "x.tif")
    wanted = write_labels(path, kind, labels, holes)
    code = ClassIds(3)
    raster = open_labels(path)
    assert raster is not None and raster.size == (201, 330)
    for box in windows((201, 330)):
        decoded = code.window(raster, box)
        x0, y0, x1, y1 = box
        np.testing.assert_array_equal(decoded.labels, wanted[y0:y1, x0:x1])
        known = wanted[y0:y1, x0:x1]
        assert decoded.values is not None and not decoded.strange and not decoded.lossy
        assert decoded.values[:3].tolist() == [(known == i).sum() for i in range(3)]
        assert decoded.values[255] == 0  # what holds no value is no undeclared 255
    raster.close()
    # read whole, it is the same
    np.testing.assert_array_equal(code.read(path).labels, wanted)


def test_only_tiles_that_are_touched_are_decoded(tmp_path: Path) -> None:
    labels = ids(640, 960)
    write_tiff(tmp_path / "l.tif", labels[..., None], compress="deflate", **PLACE)
    write_tiff(tmp_path / "a.tif", smooth(640, 960), compress="deflate", **PLACE)
    with data(tmp_path, "a.tif", "l.tif").open(0) as opened:
        np.testing.assert_array_equal(opened.read_labels((70, 130, 120, 180)), labels[130:180, 70:120])
        assert opened.label_tiles_read == 1 and opened.raster.tiles_read.total() == 0
        opened.read_labels((60, 120, 140, 200))
        assert opened.label_tiles_read == 9  # in tiles of 64: 0 to 2 along, 1 to 3 down
        beyond = opened.read_labels((-20, -10, 30, 20))
        np.testing.assert_array_equal(beyond[10:, 20:], labels[:20, :30])
        assert (beyond[:10] == 255).all() and (beyond[:, :20] == 255).all()
        assert (opened.read_labels((2000, 0, 2010, 5)) == 255).all()


def test_colours_by_window(tmp_path: Path) -> None:
    labels, holes = ids(130, 150), noise(130, 150, 1)[..., 0] < 60
    table = np.array(list(COLOURS), np.uint8)
    colours = table[labels]
    alpha = np.where(holes, 0, 255).astype(np.uint8)
    write_tiff(
        tmp_path / "a.tif", np.dstack([colours, alpha]), photometric="rgb", colours=["red", "green", "blue", "alpha"]
    )
    entries = {i: (*colour, 255) for i, colour in enumerate(COLOURS)}
    write_tiff(tmp_path / "p.tif", labels[..., None], palette=entries, photometric="palette")
    for name, wanted in (("a.tif", np.where(holes, 255, labels)), ("p.tif", labels)):
        code = ClassColours(COLOURS)
        raster = open_labels(tmp_path / name)
        assert raster is not None
        for x0, y0, x1, y1 in windows((130, 150)):
            np.testing.assert_array_equal(code.window(raster, (x0, y0, x1, y1)).labels, wanted[y0:y1, x0:x1])
        raster.close()
        np.testing.assert_array_equal(code.read(tmp_path / name).labels, wanted)


def test_what_is_no_class_is_told_by_window_too(tmp_path: Path) -> None:
    labels = ids(100, 100).astype(np.uint16)
    labels[80, 90], labels[5, 6] = 300, 7
    write_tiff(tmp_path / "l.tif", labels[..., None], **PLACE)
    write_tiff(tmp_path / "a.tif", smooth(100, 100), **PLACE)
    files = data(tmp_path, "a.tif", "l.tif")
    with files.open(0) as opened:
        opened.read_labels((10, 10, 70, 70))
        with pytest.raises(MagNetError, match=r"l\.tif' holds \[300\], but the classes are 0\.\.2"):
            opened.read_labels((64, 64, 100, 100))
        with pytest.raises(MagNetError, match=r"holds \[7\]"):
            opened.read_labels((0, 0, 10, 10))
    assert files.count_labels(0).found.strange == {"7": 1, "300": 1}


@pytest.mark.parametrize("value", [0, 2, 3, 255])
def test_a_class_as_nodata_is_told(tmp_path: Path, value: int, caplog: pytest.LogCaptureFixture) -> None:
    labels = ids(100, 100)
    write_tiff(tmp_path / "l.tif", labels[..., None], nodata=value, **PLACE)
    write_tiff(tmp_path / "a.tif", smooth(100, 100), **PLACE)
    files = data(tmp_path, "a.tif", "l.tif")
    with files.open(0) as opened:
        for _ in range(2):
            np.testing.assert_array_equal(opened.read_labels((0, 0, 100, 100)), np.where(labels == value, 255, labels))
    told = [f"names {value} as nodata, which is also the id of a class" in one for one in caplog.messages]
    assert told == ([True] if value < 3 else [])
    notes = check_split(files).notes
    assert any("name a class as nodata" in note for note in notes) == (value < 3)


@pytest.mark.parametrize(
    ("profile", "dtype", "bands", "told"),
    [
        ({}, np.float32, 1, "one band of class ids, got 1 bands of float32"),
        ({}, np.uint8, 2, "one band of class ids, got 2 bands of uint8"),
        ({"photometric": "miniswhite"}, np.uint8, 1, "a TIFF whose 0 is white"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, profile: dict, dtype: type, bands: int, told: str) -> None:
    write_tiff(tmp_path / "l.tif", np.zeros((70, 70, bands), dtype), **profile)
    with pytest.raises(MagNetError, match=told):
        raster = open_labels(tmp_path / "l.tif")
        assert raster is not None
        ClassIds(3).window(raster, (0, 0, 70, 70))


def test_lossy_labels_are_refused_by_window(tmp_path: Path) -> None:
    write_tiff(tmp_path / "l.tif", ids(128, 128)[..., None] * 0, compress="jpeg", **PLACE)
    write_tiff(tmp_path / "a.tif", smooth(128, 128), **PLACE)
    files = data(tmp_path, "a.tif", "l.tif")
    with files.open(0) as opened:
        with pytest.raises(MagNetError, match="is JPEG, which changes ids at the edges"):
            opened.read_labels((0, 0, 10, 10))
        files.accept = ["lossy"]
        assert (opened.read_labels((0, 0, 10, 10)) == 0).all()


def test_pictures_of_labels_beside_a_raster_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ids(90, 120)
    Image.fromarray(labels).save(tmp_path / "l.png")
    write_tiff(tmp_path / "a.tif", smooth(90, 120), **PLACE)
    files = data(tmp_path, "a.tif", "l.png")
    with files.open(0) as opened:
        np.testing.assert_array_equal(opened.read_labels((10, 20, 50, 60)), labels[20:60, 10:50])
        assert opened.label_tiles_read == 0
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with pytest.raises(
        MagNetError, match=r"labels: expected a TIFF, to read a part .*l\.png'; save it as a tiled TIFF"
    ):
        files.open(0)


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_turned_pictures_are_opened_as_they_are_loaded(tmp_path: Path, exif: str) -> None:
    pixels = smooth(60, 90)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    Image.fromarray(ids(90, 60) if exif == "apply" else ids(60, 90)).save(tmp_path / "l.png")
    files = data(tmp_path, "a.png", "l.png")
    files.exif = exif  # type: ignore[assignment]
    image, labels = files.load(0)
    with files.open(0) as opened:
        height, width = opened.size
        stored, valid = opened.raster.read_level(0, (0, 0, width, height))
        np.testing.assert_array_equal(opened.to_tensor.seen(stored, valid), image)
        np.testing.assert_array_equal(opened.read_labels((0, 0, width, height)), labels)


# places


SHIFTS = [(0.0, 0.0), (0.1, 0.0), (0.5, 0.0), (0.0, -1.0), (30.0, 30.0)]


@pytest.mark.parametrize("shift", SHIFTS)
def test_labels_of_another_place_are_an_error(tmp_path: Path, shift: tuple[float, float]) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)
    moved = PLACE["transform"] @ Affine.translation(*shift)  # type: ignore[operator]
    write_tiff(tmp_path / "l.tif", ids(80, 100)[..., None], crs="EPSG:32633", transform=moved)
    files = data(tmp_path, "a.tif", "l.tif")
    if np.hypot(*shift) < 0.2:
        files.load(0)
        files.open(0).close()
        assert not check_split(files).wrong
        return
    told = rf"expected labels that lie where their image does, but '.*l\.tif' lies up to {np.hypot(*shift):.3g}\d* "
    for read in (files.load, files.open):
        with pytest.raises(MagNetError, match=told + r"pixels from '.*a\.tif'"):
            read(0)
    assert "lie where their image does" in check_split(files).wrong["places"][0]


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_world_files_beside_pictures_are_compared_too(tmp_path: Path, shift: float) -> None:
    Image.fromarray(smooth(80, 100)).save(tmp_path / "a.png")
    Image.fromarray(ids(80, 100)).save(tmp_path / "l.png")
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n100\n200\n")
    (tmp_path / "l.pgw").write_text(f"0.5\n0\n0\n-0.5\n{100 + shift / 2}\n200\n")
    for read in ("load", "open"):
        files = data(tmp_path, "a.png", "l.png")
        if shift == 0:
            getattr(files, read)(0)
            continue
        with pytest.raises(MagNetError, match=r"'.*l\.png' lies up to 2 pixels from"):
            getattr(files, read)(0)


def test_labels_of_another_pixel_size_are_an_error(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)
    larger = PLACE["transform"] @ Affine.scale(1.01)  # type: ignore[operator]
    write_tiff(tmp_path / "l.tif", ids(80, 100)[..., None], crs="EPSG:32633", transform=larger)
    with pytest.raises(MagNetError, match=r"lies up to 1\.28"):  # a hundredth of the diagonal
        data(tmp_path, "a.tif", "l.tif").open(0)


def test_another_reference_system_is_a_warning_and_none_is_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)
    write_tiff(tmp_path / "l.tif", ids(80, 100)[..., None], **{**PLACE, "crs": "EPSG:32634"})
    write_tiff(tmp_path / "n.tif", ids(80, 100)[..., None])
    with caplog.at_level(logging.WARNING, "magnet"):
        data(tmp_path, "a.tif", "n.tif").open(0).close()
        assert not caplog.messages
        data(tmp_path, "a.tif", "l.tif").open(0).close()
    assert len(caplog.messages) == 1 and "another coordinate reference system than its image" in caplog.messages[0]


def test_without_rasterio_small_maps_are_read_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)
    write_tiff(tmp_path / "l.tif", ids(80, 100)[..., None], **PLACE)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "rasterio":
            raise ImportError("No module named 'rasterio'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    files = data(tmp_path, "a.tif", "l.tif")
    for _ in range(2):
        image, labels = files.load(0)
        np.testing.assert_array_equal(image, smooth(80, 100))
        np.testing.assert_array_equal(labels, ids(80, 100))
    assert not files.is_ground(0, (80, 100))
    assert [("without rasterio the two are not compared" in one) for one in caplog.messages] == [True]
    with pytest.raises(MagNetError, match="pip install 'rasterio"):
        files.is_ground(0, (64, 64))


def test_other_sizes_are_an_error(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)
    write_tiff(tmp_path / "l.tif", ids(81, 100)[..., None], **PLACE)
    with pytest.raises(MagNetError, match=r"a\.tif' is 80x100 \(HxW\), but its labels .*l\.tif' are 81x100"):
        data(tmp_path, "a.tif", "l.tif").open(0)


# which images are ground


@pytest.mark.parametrize(
    ("kind", "scale", "ground"),
    [
        ("geo", (64, 64), True),
        ("geo", (80, 99), True),
        ("geo", (80, 100), False),
        ("geo", (200, 200), False),
        ("plain", (64, 64), False),
        ("world", (64, 64), True),
        ("png", (64, 64), False),
        ("pgw", (64, 64), True),
        ("pgw", (80, 100), False),
    ],
)
def test_ground_are_rasters_with_a_place_that_are_larger_than_the_last_scale(
    tmp_path: Path, kind: str, scale: tuple[int, int], ground: bool
) -> None:
    name = "a.tif" if kind in ("geo", "plain", "world") else "a.png"
    if name == "a.png":
        Image.fromarray(smooth(80, 100)).save(tmp_path / name)
    else:
        write_tiff(tmp_path / name, smooth(80, 100), **(PLACE if kind == "geo" else {}))
    if kind in ("world", "pgw"):
        (tmp_path / ("a.tfw" if kind == "world" else "a.pgw")).write_text("0.5\n0\n0\n-0.5\n100\n200\n")
    Image.fromarray(ids(80, 100)).save(tmp_path / "l.png")
    files = data(tmp_path, name, "l.png")
    assert files.is_ground(0, scale) is ground
    files.inputs = InputSettings(extent="ground")
    assert files.is_ground(0, scale)
    files.inputs = InputSettings(extent="scene")
    assert not files.is_ground(0, scale)


@pytest.mark.parametrize(
    ("resolution", "ground"), [("0.5m", False), ("0.25m", True), ("1m", False), ("490000um", True)]
)
def test_larger_is_meant_at_the_resolution(tmp_path: Path, resolution: str, ground: bool) -> None:
    write_tiff(tmp_path / "a.tif", smooth(80, 100), **PLACE)  # of half a metre
    Image.fromarray(ids(80, 100)).save(tmp_path / "l.png")
    files = data(tmp_path, "a.tif", "l.png")
    assert files.is_ground(0, (80, 100), resolution) is ground
    files.inputs = InputSettings(resolution=resolution)
    assert files.is_ground(0, (80, 100)) is ground


# looked at from end to end


@pytest.fixture
def by_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rasters count as large from 64 pixels on; pixels of whole decodes of labels."""
    monkeypatch.setattr("magnet.data.labelled_files._WHOLE", (64, 64))
    whole: list[int] = []
    read = ClassIds.read

    def counted(self: ClassIds, path: Path) -> object:
        decoded = read(self, path)
        whole.append(decoded.labels.size)
        return decoded

    monkeypatch.setattr(ClassIds, "read", counted)
    return whole


def test_counting_by_window_is_counting_the_whole(tmp_path: Path, by_parts: list[int]) -> None:
    labels = ids(300, 500)
    labels[:90, :200] = 9
    write_tiff(tmp_path / "l.tif", labels[..., None], nodata=9, compress="deflate", **PLACE)
    pixels = noise(300, 500) | 1
    pixels[:150] = 0
    write_tiff(tmp_path / "a.tif", pixels, nodata=0, compress="deflate", **PLACE)
    files = data(tmp_path, "a.tif", "l.tif")
    tally = files.count_labels(0)
    assert tally.size == (300, 500) and by_parts == []
    wanted = np.where(labels == 9, 255, labels)
    np.testing.assert_array_equal(tally.classes, np.bincount(wanted.ravel(), minlength=256))
    report = check_split(files)
    assert by_parts == [] and not report.wrong
    wanted[:150] = 255  # where the image holds no value
    assert report.counts.pixels == [int((wanted == i).sum()) for i in range(3)]
    assert (report.counts.ignored, report.counts.undeclared) == (int((wanted == 255).sum()), 0)
    assert [
        note for note in report.notes if note.endswith("a.tif': 50.0% of its pixels hold no value, and are ignored")
    ]
    assert report.sizes["max"] == (300, 500)


def _damaged(path: Path) -> None:
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_3_3", "TIFF", 1))
    content = bytearray(path.read_bytes())
    content[offset + 8 : offset + 40] = bytes(32)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("victim", ["a.tif", "l.tif"])
def test_damage_in_a_large_raster_is_found(tmp_path: Path, by_parts: list[int], victim: str) -> None:
    for stem in ("", "good_"):
        write_tiff(tmp_path / f"{stem}l.tif", ids(300, 500)[..., None], compress="deflate", **PLACE)
        write_tiff(tmp_path / f"{stem}a.tif", noise(300, 500), compress="deflate", **PLACE)
    _damaged(tmp_path / victim)
    files = data(tmp_path, "a.tif", "l.tif\ngood_a.tif\tgood_l.tif")
    assert victim in check_split(files).wrong["unreadable"][0]
    assert victim in leave_out_unreadable(files)[0]
    assert [pair.image.name for pair in files.pairs] == ["good_a.tif"] and by_parts == []


def test_a_folder_may_hold_labels_as_tiff_beside_images_as_tiff(tmp_path: Path) -> None:
    from magnet.data import DataFolder

    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    write_tiff(tmp_path / "images" / "a.tif", smooth(80, 100), **PLACE)
    write_tiff(tmp_path / "labels" / "a.tif", ids(80, 100)[..., None], **PLACE)
    (tmp_path / "classes.txt").write_text("0 a\n1 b\n2 c\n")
    (tmp_path / "train.txt").write_text("a\n")
    files: LabelledFiles = DataFolder(tmp_path, "train")
    np.testing.assert_array_equal(files.load(0)[1], ids(80, 100))
    Image.fromarray(smooth(80, 100)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "a.tif").unlink()
    with pytest.raises(MagNetError, match="PNG is wanted"):
        DataFolder(tmp_path, "train")
