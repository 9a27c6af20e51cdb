"""Working files of labels, labels with some answers left out, and the files that need no library: PNG and CSV."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_blocks import ArrayBlocks, Stopped, blobs
from live import environment_of_a_program
from PIL import Image

from magnet.errors import MagNetError
from magnet.extras import need
from magnet.files.atomic import atomic_path, remove_leftovers
from magnet.images.draw import colour_table
from magnet.images.label_files.areas import write_areas
from magnet.images.label_files.block_file import BlockFile
from magnet.images.label_files.blocks import STRIP_PIXELS, read_block, strips, tiles
from magnet.images.label_files.chosen import confident, of_classes
from magnet.images.label_files.geotiff import write_geotiff
from magnet.images.label_files.picture import write_palette
from magnet.images.label_files.place import PixelArea, pixel_area
from magnet.images.label_files.polygons import write_polygons
from magnet.images.label_files.pyramid import write_pyramid
from magnet.images.label_files.values import write_confidence, write_ids
from magnet.images.rasters import Place, Resolution

COLOURS = [(200, 30, 30), (20, 160, 60), (40, 60, 220)]
SMALL = np.array([[0, 0, 1, 255], [2, 0, 1, 255]], np.uint8)


# the working file


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile=st.sampled_from([1, 4, 7, 64]),
    fill=st.sampled_from([0, 7, 255]),
    seed=st.integers(0, 2**32),
)
def test_a_block_file_holds_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], tile: int, fill: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("blocks") / "x"
    wanted = np.full(size, fill, np.uint8)

    def box() -> tuple[int, int, int, int]:
        (y0, y1), (x0, x1) = (sorted(rng.choice(side + 1, 2, replace=False).tolist()) for side in size)
        return x0, y0, x1, y1

    with BlockFile.create(path, size, fill=fill, tile=tile) as file:
        for _ in range(4):
            x0, y0, x1, y1 = box()
            wanted[y0:y1, x0:x1] = rng.integers(0, 256, (y1 - y0, x1 - x0))
            file.write((x0, y0, x1, y1), wanted[y0:y1, x0:x1])
            x0, y0, x1, y1 = box()
            np.testing.assert_array_equal(file.read((x0, y0, x1, y1)), wanted[y0:y1, x0:x1])
        file.flush()
    with BlockFile.open(path, size, fill=fill, tile=tile) as file:
        np.testing.assert_array_equal(file.read((0, 0, size[1], size[0])), wanted)


def test_an_empty_block_file_takes_no_room(tmp_path: Path) -> None:
    with BlockFile.create(tmp_path / "x", (20000, 30000), fill=255) as file:
        assert (file.read((29000, 19000, 30000, 20000)) == 255).all()
    assert (tmp_path / "x").stat().st_blocks * 512 < 1 << 20


def test_a_block_file_is_not_opened_as_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    BlockFile.create(path, (60, 100), fill=255, tile=32).close()
    with pytest.raises(MagNetError, match="is there already"):
        BlockFile.create(path, (60, 100), fill=255, tile=32)
    for size, fill, tile in (((100, 60), 255, 32), ((60, 99), 255, 32), ((60, 100), 0, 32), ((60, 100), 255, 64)):
        with pytest.raises(MagNetError, match="expected the working file of"):
            BlockFile.open(path, size, fill=fill, tile=tile)
    whole = path.read_bytes()
    for damaged, words in (
        (whole[:-1], "is damaged; remove it"),
        (whole + b"\0", "is damaged"),
        (b"", "got another file"),
        (b"x" * len(whole), "got another file"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(MagNetError, match=words):
            BlockFile.open(path, (60, 100), fill=255, tile=32)


def test_a_block_file_that_shrinks_while_it_is_used(tmp_path: Path) -> None:
    with BlockFile.create(tmp_path / "x", (60, 100), fill=255, tile=32) as file:
        os.truncate(tmp_path / "x", 5000)
        with pytest.raises(MagNetError, match="was cut short"):
            file.read((0, 0, 100, 60))


@pytest.mark.parametrize("box", [(0, 0, 0, 1), (-1, 0, 1, 1), (0, 0, 5, 1), (0, 0, 1, 3)])
def test_boxes_outside_of_a_block_file(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    with BlockFile.create(tmp_path / "x", (2, 4), fill=255) as file:
        for act in (file.read, lambda box: file.write(box, np.zeros((1, 1), np.uint8))):
            with pytest.raises(ValueError, match=r"box: expected 0 <= x0 < x1 <= 4 and 0 <= y0 < y1 <= 2"):
                act(box)
        with pytest.raises(ValueError, match=r"values: expected \(2, 4\) uint8"):
            file.write((0, 0, 4, 2), np.zeros((2, 4), np.int64))


def test_threads_write_disjoint_boxes(tmp_path: Path) -> None:
    """Boxes share tiles, and rows of them."""
    wanted = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
    boxes = [(x, y, x + 10, y + 20) for y in range(0, 200, 20) for x in range(0, 300, 10)]
    with BlockFile.create(tmp_path / "x", (200, 300), fill=0, tile=64) as file:

        def work(own: list[tuple[int, int, int, int]]) -> None:
            for x0, y0, x1, y1 in own:
                file.write((x0, y0, x1, y1), wanted[y0:y1, x0:x1])

        threads = [threading.Thread(target=work, args=(boxes[k::4],)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(file.read((0, 0, 300, 200)), wanted)


def test_a_killed_process_leaves_what_it_wrote(tmp_path: Path) -> None:
    program = f"""
import os, signal
import numpy as np
from magnet.images.label_files.block_file import BlockFile
file = BlockFile.create({str(tmp_path / "x")!r}, (70, 90), fill=255, tile=32)
file.write((5, 5, 60, 50), np.full((45, 55), 3, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], env=environment_of_a_program(), check=False)
    assert done.returncode == -signal.SIGKILL
    with BlockFile.open(tmp_path / "x", (70, 90), fill=255, tile=32) as file:
        found = file.read((0, 0, 90, 70))
    assert (found[5:50, 5:60] == 3).all() and (found == 255).sum() == 70 * 90 - 45 * 55


# blocks


@given(size=st.tuples(st.integers(1, 50), st.integers(1, 50)), most=st.integers(1, 200))
def test_boxes_cover_each_pixel_once(size: tuple[int, int], most: int) -> None:
    for boxes in (list(tiles(size, 16)), list(strips(size, most))):
        seen = np.zeros(size, int)
        for x0, y0, x1, y1 in boxes:
            seen[y0:y1, x0:x1] += 1
        assert (seen == 1).all()
    assert all((y1 - y0) * size[1] <= max(most, size[1]) for _, y0, _, y1 in strips(size, most))


def test_a_block_of_another_size_is_refused() -> None:
    class Wrong(ArrayBlocks):
        def read(self, box: tuple[int, int, int, int]) -> np.ndarray:
            return super().read(box)[:-1]

    with pytest.raises(ValueError, match=r"blocks: expected \(2, 4\) uint8 for the box \(0, 0, 4, 2\), got \(1, 4\)"):
        read_block(Wrong(SMALL), (0, 0, 4, 2))


# what is left out


def test_what_is_not_confident_has_no_answer() -> None:
    confidence = np.array([[0, 50, 51, 255], [52, 127, 128, 0]], np.uint8)
    for least, wanted in (
        (0, SMALL),
        (0.2, [[255, 255, 1, 255], [2, 0, 1, 255]]),
        (0.5, [[255, 255, 255, 255], [255, 255, 1, 255]]),
        (1, np.full((2, 4), 255)),
    ):
        found = confident(ArrayBlocks(SMALL), ArrayBlocks(confidence), least)
        np.testing.assert_array_equal(found.read((0, 0, 4, 2)), wanted)
        np.testing.assert_array_equal(found.read((1, 1, 3, 2)), np.asarray(wanted)[1:2, 1:3])
    for least in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="min_confidence: expected 0 to 1"):
            confident(ArrayBlocks(SMALL), ArrayBlocks(confidence), least)
    with pytest.raises(ValueError, match="confidence: expected the size of the labels"):
        confident(ArrayBlocks(SMALL), ArrayBlocks(confidence[:1]), 0.5)


def test_other_classes_have_no_answer() -> None:
    found = of_classes(ArrayBlocks(SMALL), [2, 1])
    np.testing.assert_array_equal(found.read((0, 0, 4, 2)), [[255, 255, 1, 255], [2, 255, 1, 255]])
    for classes in ([], [255], [-1, 2]):
        with pytest.raises(ValueError, match="classes: expected some of"):
            of_classes(ArrayBlocks(SMALL), classes)


# PNG and CSV


def test_labels_as_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = blobs((700, 900))
    source = ArrayBlocks(labels)
    monkeypatch.setattr("magnet.images.label_files.blocks.strips.__defaults__", (9000,))
    write_palette(source, tmp_path / "x.png", COLOURS)
    image = Image.open(tmp_path / "x.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colour_table(COLOURS)[labels])
    assert source.largest == 9000 and len(source.boxes) == 70


def test_ids_and_confidence_as_png(tmp_path: Path) -> None:
    labels = blobs((300, 200))
    write_ids(ArrayBlocks(labels), tmp_path / "ids.png", {0: 7, 1: 0, 2: 200})
    image = Image.open(tmp_path / "ids.png")
    assert image.mode == "L"
    wanted = np.full(256, 255)
    wanted[:3] = 7, 0, 200
    np.testing.assert_array_equal(np.asarray(image), wanted[labels])
    write_ids(ArrayBlocks(labels), tmp_path / "same.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "same.png")), labels)
    confidence = np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8)
    write_confidence(ArrayBlocks(confidence), ArrayBlocks(labels), tmp_path / "c.png")
    written = np.where(labels == 255, 0, np.maximum(confidence, 1))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "c.png")), written)


def test_ids_of_a_wrong_mapping(tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match=r"got none for class 1; add it to the mapping"):
        write_ids(ArrayBlocks(SMALL), tmp_path / "x.png", {0: 3, 2: 4})
    for mapping in ({0: 255}, {0: -1}, {255: 0}):
        with pytest.raises(ValueError, match=r"mapping: expected classes and ids of 0\.\.254"):
            write_ids(ArrayBlocks(SMALL), tmp_path / "x.png", mapping)


def test_areas(tmp_path: Path) -> None:
    labels = blobs((1100, 600))
    source = ArrayBlocks(labels)
    write_areas(source, tmp_path / "x.csv", ["road", "grass, tall"], PixelArea(0.25, "m2"))
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counts = np.bincount(labels.ravel(), minlength=256)
    assert [row["class_id"] for row in rows] == ["0", "1", "2", "255"]
    assert [row["class"] for row in rows] == ["road", "grass, tall", "2", ""]
    for row in rows:
        pixels = int(counts[int(row["class_id"])])
        assert (int(row["pixels"]), float(row["area"]), row["unit"]) == (pixels, pixels * 0.25, "m2")
    shares = [float(row["share"]) for row in rows[:-1]]
    np.testing.assert_allclose(shares, counts[:3] / counts[:3].sum(), atol=1e-6)
    assert rows[-1]["share"] == "" and source.largest == 512 * 512


def test_areas_of_nothing(tmp_path: Path) -> None:
    write_areas(ArrayBlocks(np.full((3, 5), 255, np.uint8)), tmp_path / "x.csv", ["a"], pixel_area())
    assert (tmp_path / "x.csv").read_text().splitlines()[1:] == ["0,a,0,0,pixels,0.000000", "255,,15,15,pixels,"]


def test_the_area_of_a_pixel_by_its_side() -> None:
    assert pixel_area(None, Resolution(0.5, "um")) == (0.25, "um2")
    assert pixel_area(Place(None, (3.0, 0, 0, 0, -3.0, 0)), Resolution(3.0, "m")) == (9.0, "m2")
    assert pixel_area(Place(None, (3.0, 0, 0, 0, -3.0, 0))) == (1.0, "pixels")
    for value, unit in ((0.5, "mm"), (0.0, "m"), (float("nan"), "um")):
        with pytest.raises(ValueError, match="resolution: expected above 0 um or m"):
            pixel_area(None, Resolution(value, unit))


# all of them

PLACE = Place(None, (0.5, 0.0, 10.0, 0.0, -0.5, 20.0))
WRITERS: dict[str, Callable[[ArrayBlocks, Path], object]] = {
    "geotiff": lambda blocks, path: write_geotiff(blocks, path, PLACE, COLOURS, ["a", "b", "c"]),
    "pyramid": lambda blocks, path: write_pyramid(blocks, path, Resolution(0.5, "um"), COLOURS),
    "png": lambda blocks, path: write_palette(blocks, path, COLOURS),
    "ids": lambda blocks, path: write_ids(blocks, path),
    "ids_at_a_place": lambda blocks, path: write_ids(blocks, path, None, PLACE),
    "confidence": lambda blocks, path: write_confidence(blocks, ArrayBlocks(blobs(blocks.size)), path),
    "confidence_at_a_place": lambda blocks, path: write_confidence(
        blocks, ArrayBlocks(blobs(blocks.size)), path, PLACE
    ),
    "polygons": lambda blocks, path: write_polygons(blocks, path),
    "areas": lambda blocks, path: write_areas(blocks, path, None, PixelArea(1, "pixels")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_stopped_while_writing(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("of the user")
    source = ArrayBlocks(blobs((1500, 1300)), most=2)
    with pytest.raises(Stopped), atomic_path(tmp_path / "x") as temporary:
        WRITERS[name](source, temporary)
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "of the user"


@pytest.mark.parametrize("name", WRITERS)
def test_each_pixel_is_read_once_and_few_at_a_time(tmp_path: Path, name: str) -> None:
    source = ArrayBlocks(blobs((1500, 1300)))
    with atomic_path(tmp_path / "x") as temporary:
        WRITERS[name](source, temporary)
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").stat().st_size > 100
    assert source.largest <= STRIP_PIXELS and len(source.boxes) > 1
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in source.boxes) == 1500 * 1300


def test_killed_while_writing(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.append("tests")
from label_blocks import ArrayBlocks, blobs
from pathlib import Path
from magnet.files.atomic import atomic_path
from magnet.images.label_files.geotiff import write_geotiff
class Killed(ArrayBlocks):
    def read(self, box):
        if len(self.boxes) == 5:
            print(*[path for path in Path({str(tmp_path)!r}).rglob("*.tif")], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(box)
with atomic_path({str(tmp_path / "x.tif")!r}) as temporary:
    write_geotiff(Killed(blobs((1500, 1300))), temporary, None, [(1, 2, 3)])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_of_a_program(),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL and "work.tif" in done.stdout
    assert not (tmp_path / "x.tif").exists()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    wanted = re.escape("pip install 'rasterio>=1.4'")
    with pytest.raises(MagNetError, match=f"a TIFF of labels needs a package that cannot be used.*{wanted}"):
        write_geotiff(ArrayBlocks(SMALL), tmp_path / "x.tif", None, COLOURS)
    with pytest.raises(MagNetError, match=wanted):
        need("magnet_has_no_such_library", "geo")
    assert os.listdir(tmp_path) == []


def test_importing_the_library_imports_none_of_them() -> None:
    program = "import sys, magnet, magnet.images.label_files.polygons, magnet.images.label_files.geotiff\n"
    program += "print([name for name in ('rasterio', 'shapely', 'tifffile') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment_of_a_program(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
