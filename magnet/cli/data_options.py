"""``--data.KEY VALUE`` words beside the path of a data set, as ``magnet data check`` and ``magnet eval`` take them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from magnet.cli.config import build_train_parser, parse_config
from magnet.data import Dataset, LabelledFiles
from magnet.data.config import DataConfig
from magnet.data.open import detect_format
from magnet.errors import ArgumentError
from magnet.files.yaml_text import read_yaml

__all__ = ["data_config", "files_of"]

# a run's required keys have no bearing on its data
_RUN = ("--name=data", "--walk.scales=[[1,1]]", "--walk.patch_size=[1,1]")


def data_config(path: str, words: Sequence[str], prog: str) -> DataConfig:
    """The configuration of the data set at ``path``, whose layout is recognised, with keys set by ``words``.

    Exits with code 2 on wrong words.

    Raises:
        ArgumentError: nothing there, or a layout that is not recognised.
    """
    parser = build_train_parser(prog)
    for word in words:
        if word.startswith("--") and not word.startswith("--data."):
            raise ArgumentError(
                f"argument {word}: expected keys of the data alone beside its path; give them as --data.KEY VALUE"
            )
    parse_config([*_RUN, *words], parser)  # wrong words are told first
    where = _where(Path(path), words)
    return parse_config([*_RUN, *(f"--data.{key}={value}" for key, value in where.items()), *words], parser).data


def files_of(config: DataConfig, dataset: Dataset) -> list[Path]:
    """The files that a data set is read from: images, labels, and the lists that name them."""
    root = Path(config.root or os.environ.get("MAGNET_DATA", "."))
    lists = config.lists
    named = [config.file, *config.classes[:1], lists.train, lists.val, lists.test]
    files = [root / name for name in named if name]
    if config.file:
        files += _lists_in(root / config.file)
    files += [path for folder in (root, *(root / name for name in config.folders)) for path in folder.glob("*.txt")]
    if isinstance(dataset, LabelledFiles):
        files += [path for pair in dataset.pairs for path in (pair.image, *pair.labels)]
        place = Path(dataset.place)
        files += [] if place.is_dir() else [place]
    return files


def _lists_in(description: Path) -> list[Path]:
    """The lists that a YAML description names, of every split."""
    content = read_yaml(description, "data.file", "name the YAML file that describes the data")
    parts = [content.get(split) for split in ("train", "val", "test")]
    root = description.parent / str(content.get("root") or ".")
    return [root / str(part["list"]) for part in parts if isinstance(part, dict) and "list" in part]


def _where(path: Path, words: Sequence[str]) -> dict[str, str]:
    """The keys of the data set at ``path``; one of --data.format is taken as given."""
    given = any(word == "--data.format" or word.startswith("--data.format=") for word in words)
    name = "" if given else detect_format(path)
    if name == "yaml":
        return {"root": str(path.parent), "file": path.name, "format": name}
    return {"root": str(path), **({"format": name} if name else {})}
