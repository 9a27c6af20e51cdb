"""``magnet data check`` on every wrong layout of ``faults.layouts``: never a crash, always what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.layouts import LAYOUTS, Layout
from tiny_data import tiny_folder

from magnet.cli import main as cli
from magnet.data import DataFolder
from magnet.errors import MagNetError


def test_there_are_fifty_of_all_formats() -> None:
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names) >= 50
    assert {name.partition("_")[0] for name in names} == {
        "folder",
        "list",
        "yaml",
        "cityscapes",
        "deepglobe",
        "gleason",
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout.name for layout in LAYOUTS])
def test_what_mends_it_is_named(layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = layout.build(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    code = cli.main(["data", "check", *words])
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert code == 1
    for part in layout.told:
        assert part in shown
    assert "Traceback" not in shown and "Error:" not in shown and "all is well" not in shown
    assert before == {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("images/p1.jpg", "images/p1.jpg' is a link to what is not there; put the file itself there"),
        ("labels/p1.png", "labels/p1.png' is a link to what is not there; put the file itself there"),
        ("train.txt", "lists 'P1', which is neither in images/ nor in labels/; did you mean 'p1'?"),
    ],
)
def test_training_says_the_same(name: str, told: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "d", size=(32, 48), counts=(3, 1, 1))
    (folder / name).unlink()
    if name == "train.txt":
        (folder / name).write_text("p0\nP1\np2\n")
    else:
        (folder / name).symlink_to("elsewhere")
    with pytest.raises(MagNetError) as caught:
        DataFolder(folder, "train")
    assert told in str(caught.value)
