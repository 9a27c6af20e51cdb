"""Outputs are whole or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from magnet.errors import MagNetError
from magnet.files import atomic_path, check_output_dir


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "result.png"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == tmp_path and temporary.suffix == ".png"
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["result.png"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o400


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_no_half_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "result.txt"
    target.write_text("before")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("ha")
        raise error
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_output_folder_is_made(tmp_path: Path) -> None:
    folder = check_output_dir(tmp_path / "a" / "b")
    assert folder.is_dir() and not list(folder.iterdir())


@pytest.mark.parametrize("inside", ["file", "file/folder"])
def test_output_folder_that_cannot_be(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(MagNetError, match=r"^--out: expected a folder that can be written to.*choose another"):
        check_output_dir(tmp_path / inside)
    assert (tmp_path / "file").read_text() == "kept"


def test_results_are_ordinary_files(tmp_path):
    target = tmp_path / "model.safetensors"
    umask = os.umask(0)
    os.umask(umask)
    with atomic_path(target) as temporary:
        temporary.touch(mode=0o600)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
