"""Errors of writing name the file, and a full disk leaves nothing half written."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live import environment_of_a_program
from output_files import names, picture, run
from PIL import Image
from tiny_model import save_tiny_model

from magnet.files.atomic import atomic_path, errors_name, save_image
from magnet.files.outputs import RECORD


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_errors_of_writing_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    for error in (full(), OSError("12 requested and 3 written"), PermissionError(errno.EACCES, "no")):
        with pytest.raises(OSError, match=r"r\.txt") as told, errors_name(path):
            raise error
        assert told.value.filename == str(path) and type(told.value) is type(error)
    with pytest.raises(PermissionError) as inside, atomic_path(path) as temporary:
        raise PermissionError(errno.EACCES, "no", str(temporary))
    assert inside.value.filename == str(path) and names(tmp_path) == []
    with pytest.raises(FileNotFoundError) as other, atomic_path(path):
        (tmp_path / "no input").read_bytes()
    assert other.value.filename == str(tmp_path / "no input")


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_picture_is_never_cut_short_by_a_full_disk(tmp_path: Path, suffix: str) -> None:
    """Pillow's own writing of a JPEG file leaves the first half and says nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    with small_disk(tmp_path / "disk", "32k") as disk:
        with (
            pytest.raises(OSError, match="No space left on device") as told,
            atomic_path(disk / f"x{suffix}") as temporary,
        ):
            save_image(Image.fromarray(noise), temporary)
        assert told.value.filename == str(disk / f"x{suffix}") and names(disk) == []


def test_predicting_onto_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with small_disk(tmp_path / "disk", "32k") as disk:
        for kind in ("overlay", "probabilities"):
            words = ["predict", tmp_path / "a.png", "--model", model, "--out", disk, "--save", f"labels,{kind}"]
            assert run(*words) == 1
            told = capsys.readouterr().err
            assert told.startswith(f"magnet: error: {disk}/a_{kind}.") and told.endswith(": No space left on device\n")
            assert names(disk) == [RECORD, "a_labels.png"]


@pytest.mark.parametrize("command", ["--version", "predict a.png --model MODEL --out out"])
def test_a_full_disk_under_the_output_is_told(command: str, model: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with open("/dev/full", "w") as sink:
        command = [sys.executable, "-P", "-m", "magnet", *command.replace("MODEL", str(model)).split()]
        environment = environment_of_a_program(PYTHONUNBUFFERED="")
        done = subprocess.run(command, stdout=sink, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "magnet: error: standard output: No space left on device\n")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
