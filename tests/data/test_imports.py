"""Labels of other tools: the command, and the sheet that shows what was imported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from import_files import run
from PIL import Image

from magnet.cli.main import main


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
