"""Files that are used twice: images of two splits, and labels of two images."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import tiny_folder

from magnet.cli import main as cli
from magnet.data import DataFolder
from magnet.data.counting import check_labels
from magnet.data.lists import FileLists
from magnet.data.overlap import shared_images, shared_labels, shared_note


def test_training_tells_of_images_that_it_is_scored_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_folder(tmp_path / "data", counts=(3, 2, 1))
    train, val = DataFolder(folder, "train"), DataFolder(folder, "val")
    assert shared_images([train, val]) == [] and shared_note([train, val]) == ""
    check_labels([train], val, tmp_path)
    assert not [message for message in caplog.messages if "splits" in message]
    (folder / "val.txt").write_text("p0\np2\np3\n")
    val = DataFolder(folder, "val")
    assert len(shared_images([train, val])) == 2
    check_labels([train], val, tmp_path)
    (told,) = [message for message in caplog.messages if "splits" in message]
    assert "p0.jpg is in train and val, and 1 more are; scores of images that were trained on are too good" in told


def test_labels_of_several_images_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "data", counts=(4, 1, 1))
    lines = ["images/p0.jpg\tlabels/p0.png", "images/p1.jpg\tlabels/p0.png", "images/p2.jpg\tlabels/p2.png"]
    (folder / "pairs.lst").write_text("\n".join(lines))
    dataset = FileLists(folder, "train", file=folder / "pairs.lst", class_names=["ground", "thing"])
    (note,) = shared_labels(dataset)
    assert note.endswith("labels/p0.png is the labels of 2 images: 'p0.jpg' and 'p1.jpg'")
    words = ["--data.format", "list", "--data.classes", "[ground, thing]", "--data.lists.train", "pairs.lst"]
    assert cli.main(["data", "check", str(folder), *words, "--split", "train"]) == 0
    assert f"  note: {note}" in capsys.readouterr().out
