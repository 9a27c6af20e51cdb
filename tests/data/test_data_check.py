"""``magnet data check``: figures of what a data set holds, and every fault named, whatever else is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_data import SAMPLES, arguments, cityscapes_sample, deepglobe_sample, disc, gleason_sample, save
from tiny_data import tiny_folder

from magnet.cli import main as cli

FEW = ["--data.accept", "[absent]"]  # samples of data sets with classes of their own hold a few of these
RUN = "name: x\nwalk: {scales: [[32,48],[64,96]], patch_size: [32,48]}\n"


def check(*words: str | Path, json_file: Path | None = None) -> int:
    return cli.main(["data", "check", *map(str, words), *(["--json", str(json_file)] if json_file else [])])


def report(path: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code, and the content of the JSON file with splits by name."""
    code = check(*words, json_file=path)
    content = json.loads(path.read_text())
    content["splits"] = {split["split"]: split for split in content["splits"]}
    return code, content


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sound_data_set(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = SAMPLES[name](tmp_path / "d")
    splits = ["--split", "train,val"] if name == "cityscapes" else []
    splits += FEW if name in ("cityscapes", "deepglobe", "gleason") else []
    if name == "list":
        (tmp_path / "run.yaml").write_text(RUN)
        where: list[str | Path] = ["--config", tmp_path / "run.yaml", *arguments(keys)]
    else:
        where = [tmp_path / "d" / keys.get("data.file", "")]
    assert check(*where, *splits) == 0
    shown = capsys.readouterr().out
    assert shown.endswith(("all is well\n", "nothing has to be mended; see the notes\n")) and "wrong" not in shown
    assert shown.endswith("all is well\n") == ("note: " not in shown)
    assert re.search(r"^val: \d images, 64x96 \(HxW\)", shown, re.MULTILINE)


def test_figures_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "d", counts=(3, 2, 1))
    for number, size in enumerate([(10, 30), (20, 15), (40, 10)]):
        labels = np.zeros(size, np.uint8)
        labels[:1] = 255
        if number:
            labels[1, :5] = 1
        save(labels, folder / "labels" / f"p{number}.png")
        save(np.zeros((*size, 3), np.uint8), folder / "images" / f"p{number}.jpg")
    code, content = report(tmp_path / "out" / "r.json", folder, "--split", "train")
    train = content["splits"]["train"]
    assert code == 0 and list(content["splits"]) == ["train"] and train["images"] == 3
    assert train["sizes"] == {"min": [10, 30], "median": [20, 15], "max": [40, 10]}  # 300, 300 and 400 pixels
    assert train["pixels"] == {"labelled": 945, "ignored": 55}
    assert train["classes"] == [
        {"name": "ground", "percent": pytest.approx(100 * 935 / 945, abs=1e-4), "images": 3},
        {"name": "thing", "percent": pytest.approx(100 * 10 / 945, abs=1e-4), "images": 2},
    ]
    shown = capsys.readouterr().out
    assert "train: 3 images, HxW min 10x30, median 20x15, max 40x10" in shown
    assert re.search(r"^ +1 thing +1\.058 +2$", shown, re.MULTILINE)
    assert re.search(r"^ +ignored +5\.500  of all pixels$", shown, re.MULTILINE)


def test_every_fault_is_named_and_none_stops_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "d", counts=(8, 2, 2))
    images, labels = folder / "images", folder / "labels"
    (images / "p0.jpg").write_bytes(b"no image")
    (images / "p1.jpg").write_bytes((images / "p1.jpg").read_bytes()[:-300])
    (labels / "p2.png").write_bytes(b"")
    save(np.zeros((64, 95), np.uint8), labels / "p3.png")
    bad = np.zeros((64, 96), np.uint8)
    bad[0, :3], bad[5, 0] = 7, 200
    save(bad, labels / "p4.png")
    Image.new("RGB", (96, 64)).save(labels / "p5.png")
    (labels / "p6.png").unlink()
    (images / "p7.jpg").unlink()
    save(bad, labels / "stray.png")
    (folder / "val.txt").write_text("p8\np9\np10\n")
    code, content = report(tmp_path / "r.json", folder)
    train, wrong = content["splits"]["train"], content["splits"]["train"]["wrong"]
    assert code == 1 and train["images"] == 6
    assert [re.search(r"p\d\.\w+", m)[0] for m in wrong["unreadable"]] == ["p0.jpg", "p1.jpg", "p2.png", "p5.png"]
    assert len(wrong["sizes"]) == 1 and re.search(r"p3\.jpg' is 64x96.*p3\.png' are 64x95", wrong["sizes"][0])
    assert len(wrong["labels"]) == 1 and "p4.png' holds [7, 200]" in wrong["labels"][0]
    assert train["strange_values"] == {"7": 3, "200": 1}
    assert wrong["images without labels"] == [str(images / "p6.jpg")]
    assert wrong["labels without an image"] == [str(labels / "p7.png")]
    assert train["notes"] == [f"in no pair: {labels / 'stray.png'}"]
    (shared,) = content["wrong"]["images in several splits"]
    assert "p10.jpg is in test and val" in shared
    shown = capsys.readouterr().out
    assert "9 things are wrong" in shown and "pixels of values that are of no class: 7: 3, 200: 1" in shown
    for word in ("p0.jpg", "p1.jpg", "p2.png", "p3.png", "p4.png", "p5.png", "p6.jpg", "p7.png", "stray.png"):
        assert word in shown


def test_colours_of_no_class_with_their_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deepglobe_sample(tmp_path / "d")
    for name in ("1000", "1034"):  # two tiles of the training split
        path = tmp_path / "d" / "train" / f"{name}_mask.png"
        mask = np.array(Image.open(path))
        mask[3, :5] = (254, 255, 0)
        mask[4, 0] = (1, 1, 1)
        save(mask, path)
    code, content = report(tmp_path / "r.json", tmp_path / "d")
    found = [s["strange_values"] for s in content["splits"].values() if s["strange_values"]]
    assert code == 1 and found == [{"(254, 255, 0)": 10, "(1, 1, 1)": 2}]
    assert "of no class: (254, 255, 0): 10, (1, 1, 1): 2" in capsys.readouterr().out
    # by choice they are ignored: then they are told of, but nothing is wrong
    code, content = report(tmp_path / "r.json", tmp_path / "d", *FEW, "--data.unmatched", "ignore")
    notes = [note for split in content["splits"].values() for note in split["notes"]]
    assert code == 0 and len(notes) == 2 and all("has 6 pixels of 2 colours" in note for note in notes)


def test_all_maps_of_a_core_are_looked_at(tmp_path: Path) -> None:
    gleason_sample(tmp_path / "d")
    core = "slide001_core002"
    for number in (2, 4):
        (tmp_path / "d" / f"Maps{number}_T" / f"{core}_classimg_nonconvex.png").write_bytes(b"broken")
    odd = "slide001_core004"
    save(np.full((64, 96), 2, np.uint8), tmp_path / "d" / "Maps5_T" / f"{odd}_classimg_nonconvex.png")
    for annotator in ("majority", "random"):
        code, content = report(tmp_path / "r.json", tmp_path / "d", "--data.annotator", annotator)
        wrong = [m for s in content["splits"].values() for k in ("unreadable", "labels") for m in s["wrong"].get(k, [])]
        assert code == 1 and len(wrong) == 3
        assert [n for n in (2, 4) if any(f"Maps{n}_T/{core}" in m for m in wrong)] == [2, 4]
        assert any(f"Maps5_T/{odd}" in m and "holds [2]" in m for m in wrong)


def test_a_missing_test_split_is_a_note_but_not_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_folder(tmp_path / "d")
    (folder / "test.txt").unlink()
    assert check(folder) == 0
    assert re.search(r"^note: test: data: cannot read '.*test\.txt'", capsys.readouterr().out, re.MULTILINE)
    assert check(folder, "--split", "val,test") == 1
    assert re.search(r"^wrong, splits: test: .*test\.txt'", capsys.readouterr().out, re.MULTILINE)
    (folder / "val.txt").unlink()
    assert check(folder) == 1
    capsys.readouterr()
    (folder / "train.txt").unlink()
    assert check(folder) == 1
    assert capsys.readouterr().err.startswith("magnet: error: data: cannot read")


def test_labels_that_mark_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cityscapes_sample(tmp_path / "d")
    assert check(tmp_path / "d", "--split", "test") == 1
    assert "no pixel of the split 'test' is of a class" in capsys.readouterr().out


def test_long_lists_are_cut_on_the_screen_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d"
    for number in range(30):
        image, labels = disc(number, 0, 9, 0)
        save(image, path / "images" / f"p{number}.png")
        save(labels, path / "labels" / f"p{number}.png")
    (path / "classes.txt").write_text("0 a\n1 b\n")
    (path / "train.txt").write_text("".join(f"p{n}\n" for n in range(30)))
    code, content = report(tmp_path / "r.json", path, "--split", "train")
    assert code == 1 and len(content["splits"]["train"]["wrong"]["labels"]) == 30
    shown = capsys.readouterr().out
    assert shown.count("  wrong, labels: labels: '") == 20 and "  wrong, labels: and 10 more\n" in shown


def test_a_configuration_says_what_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = tiny_folder(tmp_path / "one")
    tiny_folder(tmp_path / "two", counts=(3, 1, 1))
    (tmp_path / "two" / "labels" / "p1.png").write_bytes(b"")
    (tmp_path / "run.yaml").write_text(f"{RUN}data: {{root: {tmp_path}, folders: [one]}}\n")
    assert check("--config", tmp_path / "run.yaml", "--split", "train") == 0
    assert str(one) in capsys.readouterr().out
    assert check("--config", tmp_path / "run.yaml", "--split", "train", "--data.folders", "[one,two]") == 1
    shown = capsys.readouterr().out
    assert "train: 4 images" in shown and "train: 3 images" in shown and "two/labels/p1.png" in shown


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "expected --config FILE or a folder DIR"),
        (["DIR", "--config", "hrf"], 2, "expected --config FILE or a folder DIR"),
        (["DIR", "--data.frmat", "x"], 2, "data.frmat"),
        (["DIR", "--split", ","], 2, "--split: expected some of train,val,test"),
        (["DIR/nowhere"], 2, "does not exist"),
        (["DIR/classes.txt"], 2, "expected a data folder, or a YAML file that describes the data, got the file '"),
        (["DIR", "--json", "DIR"], 2, "--json: the result"),
        (["DIR", "--json", "DIR/images"], 2, "--json: expected a JSON file"),
        (["--config", "scenes"], 1, "no files to check"),
    ],
)
def test_wrong_arguments(
    words: list[str], code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_folder(tmp_path / "d", counts=(1, 1, 1))
    assert check(*(word.replace("DIR", str(tmp_path / "d")) for word in words)) == code
    captured = capsys.readouterr()
    assert told in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""
