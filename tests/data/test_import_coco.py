"""COCO's annotations, as COCO itself, Label Studio and CVAT write them: what is drawn is what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from import_files import SIZE, image, labels_of, lengths, masked, run
from PIL import Image, ImageOps

from magnet.data.imports.shapes import Drawing, Outline, Runs, read_runs

# as pycocotools 2.0.11 encodes rows 2 to 5 of columns 3 to 8, and the first and the last pixel
COMPRESSED = "01l03YO000000000Q1M"
RANDOM = (
    "1121020MO11OO21OO42LNO000020N00100000O2050L0N1011O0ON14OM32MM63KMO000070I11O1100O1ON0011OO130O2NM00000001010N021"
    "OOO11O0111ON20N000010O00O10O20O3ON21N06OK"
)


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
