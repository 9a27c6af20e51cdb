"""Masks by palette and by colour: what is written is what they say, and what cannot be meant is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from import_files import SIZE, image, labels_of, run
from PIL import Image

from magnet.data.imports.colours import read_colour_table, voc_colours
from magnet.errors import MagNetError


def colour_mask(path: Path, values: np.ndarray, colours: list[tuple[int, int, int]], palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.array(colours, np.uint8)[values])
    if palette:
        picture = Image.fromarray(values.astype(np.uint8))
        picture.putpalette(np.array(colours, np.uint8).tobytes())
    picture.save(path)
    return path


def voc(root: Path, border: bool = True) -> np.ndarray:
    values = np.zeros(SIZE, int)
    values[2:7, 3:9], values[4, 4] = 15, 1
    if border:
        values[2, 3:9] = 255
    palette = voc_colours(256)
    palette[255] = (224, 224, 192)
    for k, name in enumerate("abcd"):
        image(root / "JPEGImages" / f"{name}.png", seed=k)
        if name != "d":
            colour_mask(root / "SegmentationClass" / f"{name}.png", values, palette, palette=name != "b")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\nd\n")
    (lists / "trainval.txt").write_text("a\nb\nc\nd\n")
    return values


def test_voc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert voc_colours(6) == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    assert voc_colours(21)[15] == (192, 128, 128) and voc_colours(256)[255] == (224, 224, 192)
    values = voc(tmp_path / "voc")
    run("voc", tmp_path / "voc", "--out", tmp_path / "out")
    told = capsys.readouterr().out
    assert "1 of 4 images have no mask" in told and "1 names of val.txt have no mask" in told
    for name in "ab":  # the palette and the colours alone
        assert np.array_equal(labels_of(tmp_path / "out", name), values)
    assert np.array_equal(labels_of(tmp_path / "out", "c", "val"), values)
    lines = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    assert len(lines) == 22 and lines[15] == "15 person" and lines[-1] == "255 ignore"


def test_voc_as_cvat_exports_it(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    values = voc(root, border=False)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nman:192,128,128::\nplane:128,0,0::\n"
    )
    assert run("voc", root, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "classes.txt").read_text() == "0 background\n1 man\n2 plane\n"
    assert np.array_equal(labels_of(tmp_path / "out", "a"), np.select([values == 15, values == 1], [1, 2], 0))


def test_voc_of_images_in_folders_and_elsewhere(tmp_path: Path) -> None:
    """As CVAT exports them of a server's folders, with images or without."""
    root = tmp_path / "voc"
    values = voc(root, border=False)
    lists = root / "ImageSets" / "Segmentation"
    for kind in ("JPEGImages", "SegmentationClass"):
        (root / kind / "day 1").mkdir()
        for path in [path for path in (root / kind).iterdir() if path.is_file()]:
            path.rename(root / kind / "day 1" / path.name)
    names = [path.stem for path in (root / "SegmentationClass" / "day 1").iterdir()]
    for path in lists.iterdir():
        path.unlink()
    (lists / "train.txt").write_text("".join(f"day 1/{name}\n" for name in names))
    (root / "JPEGImages").rename(tmp_path / "photos")
    assert run("voc", root, "--out", tmp_path / "out") == 2  # no images
    assert run("voc", root, "--images", tmp_path / "photos", "--out", tmp_path / "out", "--split", "train") in (0, 1)
    assert np.array_equal(labels_of(tmp_path / "out", "day 1_a"), np.select([values == 15, values == 1], [15, 1], 0))
    assert run("voc", root, "--images", tmp_path / "photos", "--out", tmp_path / "lists") in (0, 1)
    assert (tmp_path / "lists" / "train.txt").read_text().split("\n")[0].startswith("day 1_")


@pytest.mark.parametrize(
    "text",
    [
        "10 20 30 wide road\n255 0 0 car\n",
        "name,r,g,b\nwide road,10,20,30\ncar,255,0,0\n",
        "# R G B\n#0a141e wide road\n\n#FF0000 car\n",
        "wide road:10,20,30::\ncar:255,0,0:parts:actions\n",
        "wide road\t10\t20\t30\ncar\t255\t0\t0\n",
        "10 20 30 255 wide road\n255 0 0 255 car\n",
        "wide road,10,20,30,255\ncar,255,0,0,255\n",
        "#0a141eff wide road\n#FF0000FF car\n",
    ],
)
def test_tables_of_colours(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    table = read_colour_table(tmp_path / "t.txt")
    assert table == {"wide road": (10, 20, 30), "car": (255, 0, 0)} and next(iter(table)) == "wide road"


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3 a\n1 2 3 b\n",
        "1 2 3 a\n4 5 6 a\n",
        "1 2 300 a\n",
        "1 2 a\n",
        "1 2 3 a\n",
        "",
        "0 1 2 3 a\n1 1 1 b\n",
        "0 0 0 0\n9 9 9 1\n",
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(MagNetError, match=r"t\.txt"):
        read_colour_table(tmp_path / "t.txt")


COLOURS = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (9, 9, 250)]


@pytest.fixture
def painted(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Twelve images and masks NAME_L.png of three colours, of which the last is ignored; and the labels."""
    values = np.zeros(SIZE, int)
    values[1:5, 1:9], values[6:8, 2:4] = 1, 2
    for k in range(12):
        image(tmp_path / "images" / f"p{k}.png", seed=k)
        colour_mask(tmp_path / "masks" / f"p{k}_L.png", values, COLOURS)
    (tmp_path / "table.txt").write_text("0 0 0 land\n200 0 0 house\n0 200 0 void\n")
    return tmp_path, np.where(values == 2, 255, values)


def paint(folder: Path, *words: object) -> int:
    given = ("--images", folder / "images", "--colours", folder / "table.txt", "--mask-suffix", "_L")
    return run("colours", folder / "masks", *given, "--out", folder / "out", "--ignore", "void", *words)


def test_colours(painted: tuple[Path, np.ndarray]) -> None:
    folder, labels = painted
    assert paint(folder) == 0
    assert (folder / "out" / "classes.txt").read_text() == "0 land\n1 house\n255 ignore\n"
    assert np.array_equal(labels_of(folder / "out", (folder / "out" / "train.txt").read_text().split()[0]), labels)


def test_other_colours_are_counted_and_named(
    painted: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, labels = painted
    values = np.where(labels == 255, 2, labels)
    values[8] = 3
    colour_mask(folder / "masks" / "p3_L.png", values, COLOURS)
    colour_mask(folder / "masks" / "p4_L.png", values, [*COLOURS[:3], (9, 9, 251)])
    assert paint(folder) == 1
    told = capsys.readouterr().err
    assert (
        "26 pixels of 2 other colours in 2 masks" in told and "(9, 9, 250) x 13" in told and "(9, 9, 251) x 13" in told
    )
    assert not (folder / "out").exists()
    assert paint(folder, "--tolerance", 5) == 1  # they are not slightly off
    for name in ("p3", "p4"):
        colour_mask(folder / "masks" / f"{name}_L.png", values, [*COLOURS[:3], (197, 3, 2)])
    assert paint(folder, "--tolerance", 2) == 1 and not (folder / "out").exists()
    capsys.readouterr()
    assert paint(folder, "--tolerance", 3) == 0
    assert "26 pixels are of a colour that is off by up to 3" in capsys.readouterr().out
    assert (np.asarray(Image.open(folder / "out" / "labels" / "p3.png"))[8] == 1).all()


@pytest.mark.parametrize("kind", ["lossy", "size", "no image", "ids", "suffix"])
def test_masks_that_cannot_be_meant(
    painted: tuple[Path, np.ndarray], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, labels = painted
    mask = folder / "masks" / "p3_L.png"
    harm: dict[str, Callable[[], object]] = {
        "lossy": lambda: (Image.open(mask).save(mask.with_suffix(".jpg")), mask.unlink()),
        "size": lambda: image(folder / "images" / "p3.png", (13, 9)),
        "no image": lambda: (folder / "images" / "p3.png").unlink(),
        "ids": lambda: Image.fromarray((labels == 1).astype(np.uint8)).save(mask),
        "suffix": lambda: [one.rename(one.with_name(one.name.replace("_L", ""))) for one in folder.glob("masks/*")],
    }
    harm[kind]()
    assert paint(folder) == 1
    told = {
        "lossy": "p3_L.jpg' is JPEG, which changes colours",
        "size": "is 13x9 (HxW), its mask",
        "no image": "has no image 'p3' in",
        "ids": "greys that may be class ids in 1 masks",
        "suffix": "whose names end in '_L'; check the path and --mask-suffix",
    }
    assert told[kind] in capsys.readouterr().err and not (folder / "out").exists()
