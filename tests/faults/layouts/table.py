"""The table of wrong layouts, and what their builders share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from sample_data import arguments, save
from tiny_data import tiny_folder

FEW = ["--data.accept", "[absent]"]  # the samples of data sets with classes of their own hold a few of these


class Layout(NamedTuple):
    """A wrong layout."""

    name: str
    build: Callable[[Path], list[str]]
    told: tuple[str, ...]


LAYOUTS: list[Layout] = []


def layout(*told: str) -> Callable[[Callable[[Path], list[str]]], Callable[[Path], list[str]]]:
    def add(build: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        LAYOUTS.append(Layout(build.__name__, build, told))
        return build

    return add


def folder_of(path: Path) -> Path:
    return tiny_folder(path / "d", size=(32, 48), counts=(3, 1, 1))


def each_label(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    for file in sorted((folder / "labels").iterdir()):
        save(change(np.array(Image.open(file))), file)
    return [str(folder)]


def rename(folder: Path, part: str, name: Callable[[Path], str]) -> list[str]:
    for file in sorted((folder / part).iterdir()):
        file.rename(file.with_name(name(file)))
    return [str(folder)]


def write(folder: Path, name: str, text: str | bytes) -> list[str]:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return [str(folder)]


def with_keys(path: Path, keys: dict[str, str]) -> list[str]:
    """The words of a check that a configuration file says all but the data of."""
    (path / "run.yaml").write_text("name: x\nwalk: {scales: [[32,48],[64,96]], patch_size: [32,48]}\n")
    return ["--config", str(path / "run.yaml"), *arguments(keys)]
