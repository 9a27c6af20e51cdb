"""Folders that commands write results to, for the tests of what is replaced there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from magnet.cli import main as cli
from magnet.files.outputs import Outputs


def write(folder: Path, name: str, content: str, source: str = "a", **options: bool) -> None:
    """What a command does: check, then write one result."""
    with Outputs(folder, "test", **options) as out:
        out.check([(folder / name, source)])
        with out.write(folder / name, source) as temporary:
            temporary.write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def picture(path: Path, seed: int = 0) -> bytes:
    path.unlink(missing_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (70, 110, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
