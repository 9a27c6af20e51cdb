"""Labels of other tools: what is written is what they say, and what cannot be meant is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from magnet.cli.main import main
from magnet.data import DataFolder
from magnet.data.imports.colours import read_colour_table, voc_colours
from magnet.data.imports.shapes import Drawing, Outline, Runs, read_runs
from magnet.errors import MagNetError

SIZE = (9, 13)
# as pycocotools 2.0.11 encodes rows 2 to 5 of columns 3 to 8, and the first and the last pixel
COMPRESSED = "01l03YO000000000Q1M"
RANDOM = (
    "1121020MO11OO21OO42LNO000020N00100000O2050L0N1011O0ON14OM32MM63KMO000070I11O1100O1ON0011OO130O2NM00000001010N021"
    "OOO11O0111ON20N000010O00O10O20O3ON21N06OK"
)


def masked() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[2:6, 3:9] = mask[0, 0] = mask[8, 12] = True
    return mask


def lengths(mask: np.ndarray) -> list[int]:
    """Run lengths column by column, the first of pixels outside."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


def run(*words: object) -> int:
    try:
        return main(["data", "import", *map(str, words)])
    except SystemExit as error:
        return int(str(error.code))


def labels_of(out: Path, name: str, split: str = "train") -> np.ndarray:
    dataset = DataFolder(out, split)
    index = next(i for i in range(len(dataset)) if dataset.name(i) == name)
    return dataset.load(index)[1]


def test_a_compressed_rle_is_what_pycocotools_wrote() -> None:
    runs = Runs(1, SIZE, read_runs(COMPRESSED))
    assert np.array_equal(runs.read((0, 0, 13, 9)), masked()) and runs.area == masked().sum()
    assert np.array_equal(runs.read((2, 1, 6, 9)), masked()[1:9, 2:6])
    assert read_runs(COMPRESSED).tolist() == lengths(masked())
    counts = read_runs(RANDOM)
    assert counts.sum() == 20 * 15 and counts[1::2].sum() == 135 and (counts >= 0).all()
    assert read_runs("0d0").tolist() == [0, 20] and read_runs("d0").tolist() == [20]


@pytest.mark.parametrize("text", ["0p", "P", "0d", "\u00e4"])
def test_other_texts_are_no_rle(text: str) -> None:
    with pytest.raises((ValueError, UnicodeEncodeError)):
        Runs(1, (4, 5), read_runs(text))


def test_the_smaller_or_the_later_shape_is_on_top() -> None:
    def square(number: int, x0: float, x1: float) -> Outline:
        return Outline(number, [[np.array([[x0, x0], [x1, x0], [x1, x1], [x0, x1]])]])

    small, large, same = square(1, 2, 5), square(2, 1, 8), square(3, 3, 6)
    labels, contested = Drawing((9, 9), [small, large], 0, "smaller").draw((0, 0, 9, 9))
    assert (labels[2:5, 2:5] == 1).all() and (labels == 2).sum() == 49 - 9 and contested == 9
    labels, contested = Drawing((9, 9), [small, large], 0, "later").draw((0, 0, 9, 9))
    assert (labels == 2).sum() == 49 and not (labels == 1).any() and contested == 9
    labels = Drawing((9, 9), [small, same], 7, "smaller").read((3, 2, 9, 9))  # of equal ones the later
    assert labels[1, 0] == 3 and labels[0, 0] == 1 and labels[6, 5] == 7


def coco(folder: Path, **changes: Any) -> Path:
    """A COCO file with its images: a polygon, RLE as numbers and compressed, categories with gaps and out of order."""
    image(folder / "images" / "a.png")
    image(folder / "images" / "deep" / "b.png", seed=1)
    image(folder / "images" / "c.png", seed=2)
    triangle = [[1.0, 1.0, 9.0, 1.0, 1.0, 9.0], [9.0, 5.0, 12.0, 5.0, 12.0, 8.0, 9.0, 8.0]]
    numbers = {"size": SIZE, "counts": lengths(masked())}
    content = {
        "categories": [{"id": 7, "name": "tree"}, {"id": 3, "name": "car"}, {"id": 1, "name": "Background"}],
        "images": [
            {"id": i, "file_name": name, "height": 9, "width": 13}
            for i, name in enumerate(["a.png", "deep/b.png", "c.png"])
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, "segmentation": triangle, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": numbers, "iscrowd": 1},
            {"id": 3, "image_id": 1, "category_id": 7, "segmentation": {"size": SIZE, "counts": COMPRESSED}},
        ],
        **changes,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


def test_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = coco(tmp_path), tmp_path / "out"
    words = ("coco", source, "--images", tmp_path / "images", "--out", out, "--split", "train")
    assert run(*words, "--overlap", "later") == 1  # the class car has no pixel left: what magnet data check says
    told = capsys.readouterr().out
    assert "note: 26 pixels lie in annotations of several classes: the later one is on top" in told
    assert "note: 1 of 3 images have no annotation" in told
    assert "imported: 3 images (3 train)" in told and "car" in told and "1 thing is wrong" in told
    assert (out / "classes.txt").read_text() == "0 background\n1 car\n2 tree\n"
    assert np.array_equal(labels_of(out, "b"), np.where(masked(), 2, 0))
    y, x = np.mgrid[:9, :13] + 0.5
    triangle = (x >= 1) & (y >= 1) & (x + y <= 10)
    square = (x > 9) & (x < 12) & (y > 5) & (y < 8)
    found = labels_of(out, "a") == 2
    assert not (found & ~triangle & ~square).any() and found[square].all() and found[triangle & (x + y < 10)].all()
    assert (labels_of(out, "c") == 0).all()
    assert (out / "images" / "b.png").read_bytes() == (tmp_path / "images" / "deep" / "b.png").read_bytes()
    with Image.open(out / "sheet.jpg") as sheet:
        assert sheet.width == 2000


def test_an_import_can_be_given_again_and_beside_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = coco(tmp_path), tmp_path / "out"
    words = ("coco", source, "--images", tmp_path / "images", "--out", out)
    for _ in range(2):
        run(*words, "--split", "train")
    before = (out / "train.txt").read_text()
    other = coco(tmp_path / "other", images=[{"id": 1, "file_name": "v.png"}], annotations=[])
    image(tmp_path / "other" / "images" / "v.png")
    assert run("coco", other, "--images", tmp_path / "other" / "images", "--out", out, "--split", "val") in (0, 1)
    assert (out / "train.txt").read_text() == before and (out / "val.txt").read_text() == "v\n"
    assert "val: 1 images" in capsys.readouterr().out
    classes = coco(tmp_path / "more", categories=[{"id": i, "name": n} for i, n in ((7, "tree"), (3, "bus"))])
    assert run("coco", classes, "--images", tmp_path / "images", "--out", out, "--split", "test") == 1
    assert "has other classes" in capsys.readouterr().err
    (out / "labels" / "a.png").write_bytes(b"mine")
    assert run(*words, "--split", "train") == 1
    assert "was changed since" in capsys.readouterr().err and (out / "labels" / "a.png").read_bytes() == b"mine"
    run(*words, "--split", "train", "--overwrite")
    assert (out / "labels" / "a.png").read_bytes() != b"mine"


def test_images_are_shared_out_by_name(tmp_path: Path) -> None:
    records = [{"id": i, "file_name": f"{i}.png"} for i in range(20)]
    whole = {"size": SIZE, "counts": [0, 117]}
    notes = [{"id": i, "image_id": i, "category_id": 7, "segmentation": whole} for i in range(0, 20, 2)]
    source = coco(tmp_path, images=records, annotations=notes, categories=[{"id": 7, "name": "tree"}])
    for i in range(20):
        image(tmp_path / "images" / f"{i}.png", seed=i)
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out", "--val", 0.25) == 0
    lists = {split: (tmp_path / "out" / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert [len(lists[split]) for split in lists] == [12, 5, 3]
    assert sorted(name for names in lists.values() for name in names) == sorted(str(i) for i in range(20))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an image that is not there": ({"images": [{"id": 0, "file_name": "x.png"}], "annotations": []}, "'x.png' is not"),
    "another size": (
        {"images": [{"id": 0, "file_name": "a.png", "height": 13, "width": 9}], "annotations": []},
        "is 9x13 (HxW), and 13x9 in the labels",
    ),
    "a box alone": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 7, "bbox": [1, 1, 2, 2], "segmentation": []}]},
        "but of 1 annotations 1 are boxes alone, as annotation 5 of image 0; export outlines",
    ),
    "no category": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 9, "segmentation": [[0, 0, 1, 1, 2, 0]]}]},
        "annotation 5 of image 0 is of category 9",
    ),
    "a mask of another size": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 7, "segmentation": {"size": [3, 3], "counts": [9]}}]},
        "expected a mask of 9x13 (HxW), got 3x3",
    ),
    "runs that are too short": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 7, "segmentation": {"size": SIZE, "counts": [9]}}]},
        "expected runs of 117 pixels, got 9",
    ),
    "corners that are none": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 7, "segmentation": [[0, 0, 1]]}]},
        "annotation 5 of image 0: expected",
    ),
    "an annotation of no image": (
        {"annotations": [{"id": 5, "image_id": 44, "category_id": 7, "segmentation": [[0, 0, 1, 1, 2, 0]]}]},
        "annotation 5 is of image 44",
    ),
    "two images that would be one file": (
        {"images": [{"id": i, "file_name": f"{i}/a.png"} for i in (0, 1)], "annotations": []},
        "a.png' would be the image 0 and the image 1",
    ),
    "two images of one id": (
        {"images": [{"id": 0, "file_name": name} for name in ("a.png", "c.png")], "annotations": []},
        "each image of",
    ),
    "two classes of one id": ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "2 have the id 7"),
    "no images": ({"images": [], "annotations": []}, "expected images in"),
    "an id that is a list": (
        {"annotations": [{"id": 5, "image_id": [1], "category_id": 7}]},
        "is none (image_id [1] in its annotations)",
    ),
    "corners without lists": (
        {"annotations": [{"id": 5, "image_id": 0, "category_id": 7, "segmentation": [1, 1, 9, 1, 1, 9]}]},
        "expected lists of x and y in turn",
    ),
    "a class twice": ({"categories": [{"id": 7, "name": "a b"}, {"id": 3, "name": "A_b"}]}, "twice"),
    "no categories": ({"categories": None}, "expected COCO JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_coco_that_cannot_be_meant(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    changes, told = BAD[name]
    source = coco(tmp_path, **changes)
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out") == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # nothing was begun


@pytest.mark.parametrize("name", [".hidden.png", "two\nlines.png", "blank .png"])
def test_names_that_no_list_can_hold(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "images" / name)
    source = coco(tmp_path, images=[{"id": 0, "file_name": name}], annotations=[])
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out") == 1
    assert "expected names of images that a list can hold" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.png"))


def test_images_that_differ_by_their_suffix_alone(tmp_path: Path) -> None:
    """And sizes that a tool does not know, and names that are addresses."""
    image(tmp_path / "images" / "a.bmp")
    names = ["a.png", "/data/local-files/?d=a.bmp", "http://host/deep/b.png?v=1", "%63.png"]
    images = [{"id": i, "file_name": name, "height": None, "width": 0} for i, name in enumerate(names)]
    image(tmp_path / "images" / "b.png")
    source = coco(tmp_path, images=images)
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train") in (0, 1)
    found = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert found == ["a_bmp.bmp", "a_png.png", "b.png", "c.png"]


@pytest.mark.parametrize("turned", range(1, 9))
def test_labels_drawn_on_an_image_as_it_is_stored(
    tmp_path: Path, turned: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are turned as it is; where sizes do not tell, labels are of the upright image, as browsers show it."""
    source = coco(tmp_path)
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[masked()] = 255
    tag = Image.Exif()
    tag[0x112] = turned
    Image.fromarray(stored).save(tmp_path / "images" / "a.png", exif=tag)
    content = json.loads(source.read_text())
    content["annotations"][0] |= {"segmentation": {"size": SIZE, "counts": COMPRESSED}}
    source.write_text(json.dumps(content))
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train") in (0, 1)
    labels = labels_of(tmp_path / "out", "a")
    seen = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "images" / "a.png")))[..., 0] > 0
    assert labels.shape == seen.shape
    if turned in (1, *range(5, 9)):
        assert np.array_equal(labels == 2, seen)
    else:
        assert np.array_equal(labels == 2, masked())
    assert ("turned as the image is" in capsys.readouterr().out) == (turned >= 5)


def test_masks_of_an_image_as_it_is_stored(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x112] = 6
    stored = np.where(masked()[..., None], [[[250, 0, 0]]], 0).astype(np.uint8)
    for folder, kind in (("images", {"exif": tag}), ("masks", {})):
        (tmp_path / folder).mkdir()
        Image.fromarray(stored).save(tmp_path / folder / "a.png", **kind)
    (tmp_path / "t.txt").write_text("0 0 0 rest\n250 0 0 car\n")
    words = ("colours", tmp_path / "masks", "--images", tmp_path / "images", "--colours", tmp_path / "t.txt")
    assert run(*words, "--out", tmp_path / "out", "--split", "train") == 0
    seen = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "images" / "a.png")))[..., 0] > 0
    assert np.array_equal(labels_of(tmp_path / "out", "a") == 1, seen) and seen.shape == SIZE[::-1]


def test_annotations_and_categories_that_hold_nothing_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = [[50.0, 50.0, 60.0, 50.0, 60.0, 60.0]]
    source = coco(tmp_path)
    content = json.loads(source.read_text())
    content["annotations"] += [{"id": 9, "image_id": 2, "category_id": 7, "segmentation": outside}]
    content["categories"] += [{"id": 0, "name": "things"}]
    source.write_text(json.dumps(content))
    words = ("coco", source, "--images", tmp_path / "images", "--split", "train")
    assert run(*words, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().out
    assert "1 annotations hold no pixel" in told and "no annotation is of things; where that is no class" in told
    assert run(*words, "--out", tmp_path / "other", "--ignore", "things") in (0, 1)
    assert "no annotation is of" not in capsys.readouterr().out
    assert "things" not in (tmp_path / "other" / "classes.txt").read_text()


def test_no_name_leads_out_of_the_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "secret.png")
    source = coco(tmp_path, images=[{"id": 0, "file_name": "../secret.png"}], annotations=[])
    assert run("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out") == 1
    assert "'../secret.png' is not in" in capsys.readouterr().err


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


def feature(name: str | None, ring: list[list[float]], *holes: list[list[float]]) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring, *holes]}
    return {"type": "Feature", "properties": {"kind": {"name": name}}, "geometry": geometry}


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def test_geojson_over_maps(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    features = pytest.importorskip("rasterio.features")
    transform = rasterio.Affine(2, 0, 500000, 0, -2, 5000000)
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(8):
        at = transform @ rasterio.Affine.translation(40 * (k % 4), 30 * (k // 4))
        options = {"driver": "GTiff", "width": 40, "height": 30, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
        with rasterio.open(tmp_path / "images" / f"t{k}.tif", "w", transform=at, **options) as file:
            file.write(rng.integers(1, 255, (3, 30, 40), dtype=np.uint8))
    shapes = []
    for number in range(60):  # so small ones that they hardly overlap
        x, y = 500000 + rng.uniform(0, 310), 5000000 - rng.uniform(0, 110)
        corners = [
            (x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(np.arange(6), rng.uniform(2, 9, 6), strict=True)
        ]
        shapes.append((number % 2 + 1, [list(map(float, c)) for c in [*corners, corners[0]]]))
    content = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "EPSG:32631"}},
        "features": [feature(("field", "wood")[number - 1], ring) for number, ring in shapes],
    }
    (tmp_path / "all.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path / "all.geojson", "--images", tmp_path / "images", "--out", tmp_path / "out")
    assert run(*words, "--property", "kind.name", "--overlap", "later", "--val", 0.25) == 0
    assert (tmp_path / "out" / "classes.txt").read_text() == "0 background\n1 field\n2 wood\n"
    for k in range(8):
        with rasterio.open(tmp_path / "out" / "labels" / f"t{k}.tif") as file:
            found, at = file.read(1), file.transform
        geometries = [({"type": "Polygon", "coordinates": [ring]}, number) for number, ring in shapes]
        expected = features.rasterize(geometries, (30, 40), transform=at)
        assert np.array_equal(found, expected), k
        assert expected.any()


def test_annotations_without_an_outline_are_counted_and_may_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outline = {"id": 1, "image_id": 0, "category_id": 7, "segmentation": [[1, 1, 6, 1, 6, 5, 1, 5]]}
    other = {**outline, "id": 5, "category_id": 3, "segmentation": [[7, 7, 9, 7, 9, 9]]}
    boxes = [{"id": i, "image_id": i % 2, "category_id": 3, "bbox": [2, 2, 4, 4], "segmentation": []} for i in (2, 3)]
    bare = {"id": 4, "image_id": 2, "category_id": 3}
    source = coco(tmp_path, annotations=[outline, *boxes, bare, other])
    words = ("coco", source, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words) == 1
    told = capsys.readouterr().err
    assert "but of 5 annotations 2 are boxes alone and 1 have neither outline nor box, as annotation 2" in told
    assert "--skip-incomplete" in told and not (tmp_path / "out" / "labels").exists()
    assert run(*words, "--skip-incomplete") == 0
    told = capsys.readouterr().out
    assert "2 are boxes alone and 1 have neither outline nor box: left out" in told
    assert "2 of 3 images have no annotation" in told
    labels = labels_of(tmp_path / "out", "a")
    assert (labels[1:5, 1:6] == 2).all() and (labels == 2).sum() == 20 and (labels == 1).any()
    assert not labels_of(tmp_path / "out", "c").any()


def test_features_without_a_class_are_counted_and_may_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path / "images" / "a.png")
    unclassified = {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": None}
    unclassified["geometry"] = {"type": "Polygon", "coordinates": [box(0, 0, 12, 8)]}
    content = {"type": "FeatureCollection", "features": [feature("hut", box(1, 1, 10, 8)), unclassified]}
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words, "--property", "kind.name") == 1
    told = capsys.readouterr().err
    assert "1 of 2 features have none, as feature 1 of" in told and "--skip-incomplete" in told
    assert run(*words, "--property", "kind.name", "--skip-incomplete") == 0
    assert "1 of 2 features have none in the property 'kind.name': left out" in capsys.readouterr().out
    labels = np.zeros(SIZE)
    labels[1:8, 1:10] = 1
    assert np.array_equal(labels_of(tmp_path / "out", "a"), labels)
    # where none has it, the property is another one, and nothing would be left
    assert run(*words, "--property", "kind.nome", "--skip-incomplete", "--overwrite") == 1
    told = capsys.readouterr().err
    assert "2 of 2 features have none" in told and "--skip-incomplete" not in told


def test_geojson_of_one_feature_and_of_features_that_hold_nothing(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "b.png", seed=1)
    hut = feature("hut", box(1, 1, 10, 8))
    empty = [
        {"type": "Feature", "properties": {}, "geometry": None},
        {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": []}},
    ]
    (tmp_path / "a.geojson").write_text(json.dumps(hut))
    (tmp_path / "b.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [*empty, hut]}))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words, "--property", "kind.name") == 0
    labels = np.zeros(SIZE)
    labels[1:8, 1:10] = 1
    for name in "ab":
        assert np.array_equal(labels_of(tmp_path / "out", name), labels)


def test_geojson_in_pixels_with_a_file_for_each_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "b.png", seed=1)
    outer, hole = box(1, 1, 10, 8), box(3, 3, 6, 6)
    for name in "ab":
        content = {
            "type": "FeatureCollection",
            "features": [feature("hut", outer, hole), feature("well", box(4, 4, 5, 5))],
        }
        (tmp_path / f"{name}.geojson").write_text(json.dumps(content))
    words = ("geojson", tmp_path, "--images", tmp_path / "images", "--out", tmp_path / "out", "--split", "train")
    assert run(*words) == 1
    told = capsys.readouterr().err
    assert "the property 'class' of each feature, but 4 of 4 features have none, as feature 0 of" in told
    assert run(*words, "--property", "kind.name", "--ignore", "background") == 0
    labels = np.full(SIZE, 255)
    labels[1:8, 1:10], labels[3:6, 3:6], labels[4, 4] = 0, 255, 1
    assert np.array_equal(labels_of(tmp_path / "out", "a"), labels)
    image(tmp_path / "images" / "a.bmp")  # of the same stem
    both = [*words[:5], tmp_path / "both", *words[6:]]
    assert run(*both, "--property", "kind.name", "--ignore", "background") == 0
    assert sorted(path.stem for path in (tmp_path / "both" / "labels").iterdir()) == ["a_bmp", "a_png", "b"]
    (tmp_path / "images" / "a.bmp").unlink()
    (tmp_path / "b.geojson").unlink()
    assert run(*words, "--property", "kind.name", "--overwrite") == 1
    assert "has none in" in capsys.readouterr().err
    (tmp_path / "far.geojson").write_text(
        json.dumps({"features": [feature("hut", box(90, 90, 99, 99))], "type": "FeatureCollection"})
    )
    assert run("geojson", tmp_path / "far.geojson", *words[2:], "--property", "kind.name") == 1
    assert "lie on none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("coco", "x.json", "--out", "o"), "'x.json' does not exist"),
        (("coco", ".", "--out", "o"), "--images: expected the folder"),
        (("colours", ".", "--images", ".", "--out", "o"), "--colours: expected a file"),
        (("coco", ".", "--images", ".", "--out", "o", "--split", "val", "--val", "0.5"), "--split: expected no --val"),
        (("voc", ".", "--out", "o"), "expected the layout of Pascal VOC"),
        (("voc", ".", "--out", "o", "--val", "1"), "expected a share"),
        (("yolo", ".", "--out", "o"), "invalid choice"),
    ],
)
def test_wrong_words(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [([], 2, "required: COMMAND"), (["--help"], 0, "import"), (["improt", "x"], 2, "invalid choice: 'improt'")],
)
def test_the_commands_of_data(words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words]) == code
    printed = capsys.readouterr()
    assert told in printed.out + printed.err and "Traceback" not in printed.err


def test_the_sheet_of_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    for k in range(3):
        Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(folder / "images" / f"{k}.png")
        Image.fromarray(labels if k else labels[:, ::-1].copy()).save(folder / "labels" / f"{k}.png")
    (folder / "classes.txt").write_text("0 left\n1 right\n")
    (folder / "train.txt").write_text("0\n1\n")
    (folder / "val.txt").write_text("2\n")
    sheet = tmp_path / "sheet.jpg"
    assert main(["data", "check", str(folder), "--sheet", str(sheet)]) == 0
    assert f"written: {sheet}" in capsys.readouterr().out
    pixels = np.asarray(Image.open(sheet)).astype(int)
    assert pixels.shape[1] == 2000
    turned, right = pixels[80, 400:620], pixels[80, 1060:1280]  # the labels of the first and of the second image
    assert np.abs(turned[20] - right[-20]).max() < 12 and np.abs(turned[20] - turned[-20]).max() > 40
    assert main(["data", "check", str(folder), "--sheet", str(sheet)]) == 1  # not replaced unasked
    assert main(["data", "check", str(folder), "--sheet", str(sheet), "--overwrite"]) == 0
    assert main(["data", "check", str(folder), "--sheet", str(tmp_path / "s.txt")]) == 2
    assert main(["data", "check", str(folder), "--sheet", str(folder / "images" / "0.png"), "--overwrite"]) == 2
