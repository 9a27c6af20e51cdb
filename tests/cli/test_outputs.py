"""Nothing of the user's is replaced unasked: the record of what a command wrote, and files that are somebody's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from live import environment_of_a_program
from output_files import names, write
from safetensors.torch import save_file
from tiny_model import save_tiny_model

import magnet
from magnet.errors import MagNetError
from magnet.files.locks import LOCK
from magnet.files.outputs import RECORD, Outputs
from magnet.model.pretrained import CONFIG, WEIGHTS


def test_a_result_is_replaced_by_what_wrote_it_alone(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    write(tmp_path, "r.txt", "22")
    assert (tmp_path / "r.txt").read_text() == "22" and names(tmp_path) == [RECORD, "r.txt"]
    with pytest.raises(MagNetError, match=r"^--out: '.*r\.txt' is there already, and was made from a; choose .*--over"):
        write(tmp_path, "r.txt", "3", source="b")
    with (
        Outputs(tmp_path, "another") as out,
        pytest.raises(MagNetError, match=r"r\.txt' is there already, and is not a result of 'another'"),
    ):
        out.check([(tmp_path / "r.txt", "a")])
    assert (tmp_path / "r.txt").read_text() == "22"
    write(tmp_path, "r.txt", "3", source="b", overwrite=True)
    write(tmp_path, "r.txt", "4", source="b")
    assert (tmp_path / "r.txt").read_text() == "4"


def test_a_result_that_was_edited_is_the_users(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    (tmp_path / "r.txt").write_text("corrected")
    with pytest.raises(MagNetError, match="was changed since 'test' wrote it"):
        write(tmp_path, "r.txt", "2")
    (tmp_path / "r.txt").write_text("2")  # of the same size
    os.utime(tmp_path / "r.txt", (1e9, 1e9))
    with pytest.raises(MagNetError, match="was changed since 'test' wrote it"):
        write(tmp_path, "r.txt", "2")


def test_without_the_record_a_file_is_somebodys(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    (tmp_path / RECORD).unlink()
    (tmp_path / "q.txt").write_text("")
    with (
        Outputs(tmp_path, "test") as out,
        pytest.raises(
            MagNetError, match=r"r\.txt' is there already, and is not a result of 'test' \(and so are 1 more"
        ),
    ):
        out.check([(tmp_path / name, "a") for name in ("r.txt", "q.txt", "new.txt")])


def test_what_comes_between_the_check_and_the_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    with Outputs(tmp_path, "test") as out:
        out.check([(path, "a")])
        path.write_text("mine")
        with pytest.raises(MagNetError, match="is not a result"), out.write(path, "a"):
            pass
    assert path.read_text() == "mine"


def test_links_and_folders_are_not_results(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "r.txt").symlink_to(tmp_path / "mine")
    with pytest.raises(MagNetError, match="is not a result"):
        write(tmp_path, "r.txt", "1")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(MagNetError, match=r"d\.txt' is there already, and is a folder; choose another folder$"):
        write(tmp_path, "d.txt", "1", overwrite=True)
    (tmp_path / "other").write_text("kept")
    (tmp_path / RECORD).symlink_to(tmp_path / "other")  # nor is what a link of the record's name leads to
    with pytest.raises(OSError, match=RECORD):
        write(tmp_path, "new.txt", "1")
    assert (tmp_path / "mine").read_text() == (tmp_path / "other").read_text() == "kept"


def test_targets_are_compared_with_inputs_and_with_each_other(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with Outputs(tmp_path, "test", overwrite=True) as out:
        with pytest.raises(MagNetError, match=r"result '.*link/a\.png' would replace the input '.*in/a\.png'"):
            out.check([(tmp_path / "link" / "a.png", "a")], [tmp_path / "in" / "a.png"])
        with pytest.raises(MagNetError, match=r"the results of one and of two would both be '.*in/\.\./b'"):
            out.check([(tmp_path / "b", "one"), (tmp_path / "in" / ".." / "b", "two")])


@pytest.mark.parametrize("end", ["", "\n", '\n{"file": "r.t', '\n[]\n{"file": 3}\nnull\n\x00\xff\n'])
def test_a_damaged_record_loses_no_whole_line(tmp_path: Path, end: str) -> None:
    write(tmp_path, "r.txt", "1")
    record = tmp_path / RECORD
    record.write_text(record.read_text().rstrip() + end)
    write(tmp_path, "r.txt", "2")
    write(tmp_path, "r.txt", "3")
    assert (tmp_path / "r.txt").read_text() == "3"


def test_the_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(120):
        write(tmp_path, "r.txt", str(number))
    assert len((tmp_path / RECORD).read_text().splitlines()) < 110
    write(tmp_path, "r.txt", "last")
    assert names(tmp_path) == [RECORD, "r.txt"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from magnet.files.outputs import Outputs
folder = Path(sys.argv[1])
replace = Path.replace
def killed(self, target):
    if sys.argv[2] == "after":
        replace(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = killed
with Outputs(folder, "test") as out, out.write(folder / "r.txt", "a") as temporary:
    temporary.write_text("killed")
"""


@pytest.mark.parametrize(("moment", "left"), [("before", "old"), ("after", "killed")])
def test_killed_at_the_move_it_goes_on(tmp_path: Path, moment: str, left: str) -> None:
    write(tmp_path, "r.txt", "old")
    command = [sys.executable, "-P", "-c", _KILLED, str(tmp_path), moment]
    killed = subprocess.run(command, check=False, env=environment_of_a_program())
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "r.txt").read_text() == left
    assert LOCK in names(tmp_path) and len(names(tmp_path)) == 4
    write(tmp_path, "r.txt", "new")
    assert (tmp_path / "r.txt").read_text() == "new" and names(tmp_path) == [RECORD, "r.txt"]


def test_models_replace_models_alone(tmp_path: Path) -> None:
    net = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "model", 2))
    net.save_pretrained(tmp_path / "model")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "README.md").write_text("in no one's way")
    (theirs / CONFIG).write_text('{"architectures": ["Segformer"]}')
    with pytest.raises(MagNetError, match=r"config\.json' is there already, and is not of a model .*overwrite=True"):
        net.save_pretrained(theirs)
    (theirs / CONFIG).unlink()
    save_file(net.state_dict(), theirs / WEIGHTS, {"format": "pt"})
    with pytest.raises(MagNetError, match=r"model\.safetensors' is there already, and is not of a model"):
        net.save_pretrained(theirs)
    net.save_pretrained(theirs, overwrite=True)
    (theirs / CONFIG).unlink()  # killed before it was written
    net.save_pretrained(theirs)
    assert names(theirs) == ["README.md", CONFIG, WEIGHTS]
