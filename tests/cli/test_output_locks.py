"""A folder has one writer, and what a killed one left is removed by the next."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from output_files import names, write

from magnet.errors import MagNetError
from magnet.files import locks
from magnet.files.atomic import atomic_path, remove_leftovers
from magnet.files.locks import folder_lock
from magnet.files.outputs import RECORD, Outputs


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        told = rf"^--out: '.*' is being written to by process {os.getpid()} on \S+ since \d{{4}}-.*\(.*\); wait until"
        with pytest.raises(MagNetError, match=told), folder_lock(tmp_path):
            pass
        with pytest.raises(MagNetError, match=told), Outputs(tmp_path, "test"):
            pass
    assert names(tmp_path) == []
    with folder_lock(tmp_path):
        pass


def test_a_lock_ends_with_its_process_not_with_the_workers(tmp_path: Path) -> None:
    """A forked worker that outlives a process which was killed does not keep its lock."""
    with folder_lock(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_where_there_are_no_locks_it_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_warned", False)
    for _ in range(2):
        write(tmp_path, "r.txt", "1")
    assert capsys.readouterr().err.count("has no locks") == 1
    assert names(tmp_path) == [RECORD, "r.txt"]


def test_leftovers_of_the_living_stay(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "r.txt") as temporary:
        temporary.write_text("1")
        remove_leftovers(tmp_path)
    assert (tmp_path / "r.txt").read_text() == "1"


def test_leftovers_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".r.0123456789abcdef"
    left.mkdir()
    monkeypatch.setattr(locks, "fcntl", None)
    remove_leftovers(tmp_path, alone=False)  # somebody may be writing in it
    assert left.is_dir()
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_training_in_a_folder_that_is_trained_in(tmp_path: Path) -> None:
    from tiny_data import tiny_config

    from magnet.cli.config import parse_config
    from magnet.training.run import run_training

    config = parse_config(tiny_config(tmp_path / "absent", tmp_path))
    (tmp_path / "tiny").mkdir()
    with folder_lock(tmp_path / "tiny"), pytest.raises(MagNetError, match=r"tiny' is being written to by process"):
        run_training(config)
    (tmp_path / "tiny" / "config.json").write_text('{"format": 1, "segmenter": "compact"}')  # of a model, say
    with pytest.raises(MagNetError, match=r"config\.json' is there already, and is not of a training run"):
        run_training(config)
    assert names(tmp_path / "tiny") == ["config.json"]
