"""A model and labelled images on a command line: ``--config``, or ``--model`` and ``--data``, ``--data.KEY VALUE``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from magnet.cli import arguments
from magnet.cli.arguments import Parser
from magnet.cli.config import build_train_parser, parse_config
from magnet.data import Dataset, LabelledFiles
from magnet.data.config import DataConfig
from magnet.data.open import data_root, detect_format, open_split
from magnet.data.yaml_file import lists_of
from magnet.errors import ArgumentError
from magnet.model.pretrained import shipped_models
from magnet.training.config import TrainConfig

__all__ = ["add_model_and_data", "amp_of", "data_config", "files_of", "model_of", "open_data", "parse_given"]

# a run's required keys have no bearing on its data
_RUN = ("--name=data", "--walk.scales=[[1,1]]", "--walk.patch_size=[1,1]")


def add_model_and_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is looked at, on which images."""
    add = parser.add_argument
    add(
        "--config",
        help="a training YAML or the name of a recipe: gives the data, and the model unless --model is given; "
        "its keys can be set too, as --data.root DIR",
    )
    add("--model", help="folder of a model, or the name of a bundled one")
    add("--trust", action="store_true", help=arguments.TRUST_HELP)
    add(
        "--data",
        help="a data folder: images/, labels/, classes.txt and a list for each split; or another data set; its "
        "keys can be set too, as --data.accept '[ignored]'",
    )


def parse_given(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str], TrainConfig | None]:
    """What a parser with :func:`add_model_and_data` makes of ``argv``, the words it leaves, and the run of --config.

    Exits with code 2 on wrong words.
    """
    args, rest = parser.parse_known_args(argv)
    if rest and not args.config and not any(word.startswith("--data.") for word in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if not args.config and not (args.model and args.data):
        parser.error("expected --config FILE, or --model DIR and --data DIR")
    if not args.config:
        return args, rest, None
    return args, rest, parse_config(["--config", args.config, *rest], build_train_parser(parser.prog))


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


def amp_of(config: TrainConfig | None) -> str:
    """What networks that learnt by a configuration are run in; "fp16" is for learning alone."""
    return "none" if config is None or config.amp == "fp16" else config.amp


def model_of(config: TrainConfig | None) -> str:
    """The folder of the model that a run made, or the name of the run, where a model of that name is shipped.

    Raises:
        ArgumentError: there is neither.
    """
    assert config is not None
    trained = Path(config.out) / config.name / "model"
    if trained.is_dir():
        return str(trained)
    if Path(config.name).is_dir() or config.name in shipped_models():
        return config.name
    raise ArgumentError(
        f"--config: expected the trained model of '{config.name}' in '{trained}', where there is none, nor is one of "
        f"that name shipped; train it, or, where it was trained with another --out, give --model "
        f"OUT/{config.name}/model"
    )


def open_data(
    path: str | None, split: str, words: Sequence[str], prog: str, config: TrainConfig | None
) -> tuple[Dataset, list[Path]]:
    """A split of the data set at ``path``, or of that of a run, and the files that it is read from.

    The keys of a run that say how files are read (exif, accept, corrupt, channels, bands, value_range, extent,
    resolution) count for ``path``, too.

    Args:
        path, words, prog: see :func:`data_config`; words are the run's where there is one.
        split: as "val".
        config: of the run.
    """
    if not path:
        assert config is not None
        dataset = open_split(config.data, split)[0]
        return dataset, files_of(config.data, dataset)
    data = data_config(path, [] if config else words, prog)
    if config:
        kept = ("exif", "accept", "corrupt", "channels", "bands", "value_range", "extent", "resolution")
        data = replace(data, **{name: getattr(config.data, name) for name in kept})
    if data.format == "folder" and not os.path.lexists(Path(path) / f"{split}.txt"):
        lists = [found.stem for found in sorted(Path(path).glob("*.txt")) if found.name != "classes.txt"]
        raise ArgumentError(
            f"--split: expected a list of '{path}' ({', '.join(lists) or 'none'}), got '{split}'; name one"
        )
    dataset = open_split(data, split)[0]
    return dataset, files_of(data, dataset)


def files_of(config: DataConfig, dataset: Dataset) -> list[Path]:
    """The files that a data set is read from: images, labels, and the lists that name them."""
    root, lists = data_root(config), config.lists
    named = [config.file, *config.classes[:1], lists.train, lists.val, lists.test]
    files = [root / name for name in named if name]
    if config.file:
        files += lists_of(root / config.file)
    files += [path for folder in (root, *(root / name for name in config.folders)) for path in folder.glob("*.txt")]
    if isinstance(dataset, LabelledFiles):
        files += [path for pair in dataset.pairs for path in (pair.image, *pair.labels)]
        place = Path(dataset.place)
        files += [] if place.is_dir() else [place]
    return files


def _where(path: Path, words: Sequence[str]) -> dict[str, str]:
    """The keys of the data set at ``path``; one of --data.format is taken as given."""
    given = any(word == "--data.format" or word.startswith("--data.format=") for word in words)
    name = "" if given else detect_format(path)
    if name == "yaml":
        return {"root": str(path.parent), "file": path.name, "format": name}
    return {"root": str(path), **({"format": name} if name else {})}
