"""Outputs are whole or not there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from live import environment_of_a_program
from torch import nn
from walked import EXACT, build

from magnet import load_official
from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path, check_output_dir, remove_leftovers
from magnet.files.manifest import read_manifests


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "result.png"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent.parent == tmp_path and temporary.name == "result.png"
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
        temporary.with_name(".tmpX1").touch()  # of the writer's own
        raise error
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


_KILLED_IN_A_WRITE = """
import os, signal, sys
from magnet.files.atomic import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("ha")
    temporary.with_name(".tmpX1").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_write_leaves_is_found_again(tmp_path: Path) -> None:
    target = tmp_path / "state.safetensors"
    command = [sys.executable, "-P", "-c", _KILLED_IN_A_WRITE, str(target)]
    killed = subprocess.run(command, check=False, env=environment_of_a_program())
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert {path.name for path in left.iterdir()} == {".tmpX1", target.name}
    others = {tmp_path / name for name in (".git", "x.0123456789abcdef", ".x.0123456789abcdeg", ".x.0123456789abcdef")}
    for path in others - {tmp_path / ".x.0123456789abcdef"}:
        path.mkdir()
    (tmp_path / ".x.0123456789abcdef").touch()  # a file
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == others
    remove_leftovers(tmp_path / "absent")


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


@pytest.mark.parametrize("value", [None, 3, b"folder"])
def test_what_is_no_path_is_told_by_the_name_of_the_argument(value: object) -> None:
    calls = {
        "--out": lambda: check_output_dir(value),
        "folder": lambda: read_manifests(value),
        "path": lambda: load_official(value, nn.Linear(1, 1)),
        "out": lambda: build(**EXACT).predict_raster(np.zeros((8, 8, 3), np.uint8), value, name="a"),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name}: expected a path, got {value!r}; "):
            call()
