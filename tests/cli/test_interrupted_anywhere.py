"""An interrupt between any two steps of taking a folder or of writing a file leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from output_files import names

from magnet.files import atomic, locks, parts
from magnet.files.atomic import atomic_path
from magnet.files.locks import folder_lock
from magnet.files.parts import Part, part_lock

OURS = {module.__file__ for module in (locks, parts, atomic)}


def interrupted(work: Callable[[], None], step: int) -> bool:
    """Whether the work had as many steps as that: KeyboardInterrupt comes at the end of it.

    Steps are where Python looks for signals: as a function of ours begins, and as one of C ends.
    """
    left = itertools.count(step, -1)

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename in OURS and next(left) == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def lock(folder: Path) -> None:
    with folder_lock(folder):
        pass


def lock_part(folder: Path) -> None:
    with part_lock(folder, Part(1, 2, "plan")):
        pass


def write_file(folder: Path) -> None:
    with atomic_path(folder / "a.txt") as path:
        Path(path).write_text("whole", encoding="utf-8")


@pytest.mark.parametrize("work", [lock, lock_part, write_file])
def test_nothing_is_left(work: Callable[[Path], None], tmp_path: Path) -> None:
    for step in itertools.count():
        folder = tmp_path / str(step)
        folder.mkdir()
        more = interrupted(lambda folder=folder: work(folder), step)
        left = names(folder)
        assert left == [] or (work is write_file and left == ["a.txt"]), f"interrupted at step {step}: {left}"
        with contextlib.suppress(FileNotFoundError):
            assert (folder / "a.txt").read_text(encoding="utf-8") == "whole"
        work(folder)  # nothing holds it any more
        if not more:
            break
    assert step > 15
