"""What a file can do to its reader: start programs, block, raise anything, warn. One error may come of it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tiff_files import write_strips

from magnet.data.sizes import image_size
from magnet.errors import MagNetError
from magnet.images.large import open_image, read_fitting_labels
from magnet.images.opening import opened, quiet
from magnet.images.read import CorruptImageError, LargeImageError, is_large, read_image

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 16
%%EndComments
0 0 16 16 rectfill
showpage
%%EOF
"""
READERS = {"read_image": read_image, "open_image": open_image, "image_size": image_size}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the PATH whose every program leaves a mark; returns where."""
    folder, mark = tmp_path / "bin", tmp_path / "mark"
    folder.mkdir()
    for name in ("gs", "gsc", "magick", "convert", "dcraw", "inkscape", "rsvg-convert"):
        (folder / name).write_text(f"#!/bin/sh\necho $0 >> '{mark}'\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it remembers what it found
    return mark


@pytest.mark.parametrize("limit", [10**8, 10])
@pytest.mark.parametrize("name", ["x.png", "x.eps", "x.tif"])
def test_no_image_starts_a_program(
    tmp_path: Path, programs: Path, name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(EPS)
    with contextlib.suppress(Exception), Image.open(path) as image:  # so it would
        image.load()
    assert programs.exists()
    programs.unlink()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for reader in READERS.values():
        with pytest.raises(CorruptImageError, match=rf"'.*{name}' is corrupt or not an image \(its content is none of"):
            reader(path)
    assert not is_large(path) and read_fitting_labels(path) is None
    assert not programs.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%PDF-1.4\n",
        b"GIF89a",
        b"push graphic-context\n",
    ],
    ids=["svg", "pdf", "gif", "mvg"],
)
def test_libvips_reads_only_what_is_named(
    tmp_path: Path, content: bytes, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)

    def large(*_: object, **__: object) -> None:
        raise LargeImageError("image: large")

    monkeypatch.setattr("magnet.images.large.read_turned", large)
    with pytest.raises(CorruptImageError, match=r"x\.png.*PNG, JPEG, TIFF or WebP, got a file of another format"):
        open_image(path)
    assert not programs.exists()


def test_pictures_of_other_formats_are_read_by_content(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10), (10, 200, 30))
    for kind in ("GIF", "PPM", "JPEG2000", "BMP", "WEBP", "TIFF", "PNG", "JPEG"):
        picture.save(tmp_path / "x.png", kind)
        assert np.abs(read_image(tmp_path / "x.png").astype(int) - [10, 200, 30]).max() < 4, kind
    other = Image.new("RGB", (20, 10), (200, 0, 0))
    picture.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[other])  # two pictures, of one camera
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - [10, 200, 30]).max() < 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link to a pipe"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    with contextlib.ExitStack() as stack:
        if kind.endswith("pipe"):
            os.mkfifo(path)
            if kind.startswith("link"):
                path = tmp_path / "y.png"
                path.symlink_to("x.png")
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        else:
            monkeypatch.chdir(tmp_path)  # the path of a socket is short
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind("x.png")
        word = kind.rpartition(" ")[2]
        fix = "check the path" if kind == "folder" else "copy what comes from it to a file"
        for reader in READERS.values():
            with pytest.raises(MagNetError, match=rf"^image: expected a file, but '.*png' is a {word}; {fix}"):
                reader(path)
        assert not is_large(path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("L", (4, 4)).save(path)
    path.chmod(0)
    with pytest.raises(MagNetError, match=r"x\.png' cannot be read \(Permission denied\); change its permissions"):
        read_image(path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied"), r"cannot be read \(Permission denied\); change its permissions"),
        (OSError(5, "Input/output error"), r"cannot be read \(Input/output error\); see to its disk or mount"),
    ],
)
def test_errors_of_the_system_are_not_damage(
    tmp_path: Path, error: OSError, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    for where in ("magnet.images.opening.Image.open", "magnet.images.opening.os.stat"):
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(MagNetError, match=rf"^image: '.*x\.png' {told}") as caught:
                read_image(tmp_path / "x.png")
        assert not isinstance(caught.value, CorruptImageError)


@pytest.mark.parametrize(
    "error",
    [TypeError("a"), AttributeError("b"), RuntimeError("c"), KeyError("d"), AssertionError(), ZeroDivisionError("e")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("when", ["open", "load"])
def test_whatever_a_decoder_raises_is_damage(
    tmp_path: Path, error: Exception, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "_open" if when == "open" else "load", fail)
    with pytest.raises(
        CorruptImageError, match=r"^image: expected a readable image, but '.*x\.png' is corrupt"
    ) as caught:
        read_image(tmp_path / "x.png")
    assert "\n" not in str(caught.value) and "()" not in str(caught.value)


def test_no_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MagNetError, match=r"not enough memory to read '.*x\.png'") as caught:
        read_image(tmp_path / "x.png")
    assert not isinstance(caught.value, CorruptImageError)


def test_interrupts_pass(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "x.png"):
        raise KeyboardInterrupt


def _strange(path: Path) -> None:
    """A TIFF with a tag whose data lie beyond its end: Pillow reads it and warns."""
    write_strips(path, np.full((4, 5, 3), 7, np.uint8), tags={33432: [1] * 9})
    content = bytearray(path.read_bytes())
    at = content.index((33432).to_bytes(2, "little") + b"\x03\0")
    content[at + 8 : at + 12] = (10**6).to_bytes(4, "little")
    path.write_bytes(content)


def test_warnings_of_pillow_do_not_reach_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _strange(tmp_path / "x.tif")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with Image.open(tmp_path / "x.tif") as image:
            image.load()
        assert found  # so it would
        found.clear()
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            images = list(pool.map(read_image, [tmp_path / "x.tif"] * 64))
        assert all((image == 7).all() for image in images)
        assert not found and warnings.filters == before
        with quiet(), quiet():
            warnings.warn("of our own", stacklevel=1)
        assert [str(one.message) for one in found] == ["of our own"]
    assert capfd.readouterr() == ("", "")


def test_decoders_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.tif"
    Image.new("RGB", (40, 30), (1, 2, 3)).save(path, compression="tiff_adobe_deflate")
    content = bytearray(path.read_bytes())
    at = content.index(b"\x78\x9c") if b"\x78\x9c" in content else 8
    content[at + 2 : at + 12] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(CorruptImageError):
        read_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_forked_while_others_read_can_read(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 9).save(tmp_path / "x.png")
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with opened(tmp_path / "x.png"):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if (read_image(tmp_path / "x.png") == 9).all() else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
