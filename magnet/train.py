"""``magnet train``: a segmenter and its refiners from one YAML file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magnet.data import DataFolder, Dataset, GeneratedScenes, ScaleCache
from magnet.errors import MagNetError
from magnet.files import atomic_path, check_output_dir
from magnet.training.checks import check_config
from magnet.training.config import DataConfig, TrainConfig

__all__ = ["TrainConfig", "add_train_arguments", "build_train_parser", "main", "open_split", "run_training"]

RECIPES = Path(__file__).parent / "recipes"


def open_split(config: DataConfig, split: str, *, extra: bool = False) -> list[Dataset]:
    """The data sets of a split: the first folder, and with ``extra`` (training) all the others that have the split."""
    made = config.generated
    if made.train > 0:
        counts = {"train": made.train, "val": made.val, "test": made.test}
        if split not in counts:
            raise MagNetError(f"split: expected train, val or test for generated scenes, got '{split}'")
        first = made.seed + {"train": 0, "val": made.train, "test": made.train + made.val}[split]
        return [GeneratedScenes(counts[split], made.size, first)]
    if not config.folders:
        raise MagNetError(
            "data.folders: expected at least one data folder; add it to the YAML file or use --data.folders"
        )
    root = Path(config.root or os.environ.get("MAGNET_DATA", "."))
    folders = config.folders if extra else config.folders[:1]
    datasets = [DataFolder(root / folder, split) for folder in folders]
    for dataset in datasets[1:]:
        if dataset.class_names != datasets[0].class_names:
            raise MagNetError(
                f"data.folders: '{dataset.path}' has the classes {dataset.class_names}, but '{datasets[0].path}' has "
                f"{datasets[0].class_names}; the folders of one run must share their classes"
            )
    return list(datasets)


def run_training(config: TrainConfig, stage: str | None = None) -> Path:
    """Train the segmenter, the refiners, or both, and return the folder of the model.

    Files of ``<out>/<name>``: ``segmenter/`` and ``refiner/`` with ``last`` and ``best`` safetensors, ``log.jsonl``,
    ``config.json``, and after the refiner stage ``model/``, which ``MagNet.from_pretrained`` reads.

    Args:
        config: the run.
        stage: "segmenter", "refiner" (needs the segmenter's checkpoint in the folder) or "all"; default: config.stage.

    Raises:
        MagNetError: bad data or configuration, an unwritable folder, a loss that is not finite.
    """
    from magnet.training.loop import RunLog, pick_device
    from magnet.training.segmenter import train_segmenter

    stage = stage or config.stage
    if stage not in ("segmenter", "refiner", "all"):
        raise MagNetError(f"stage: expected segmenter, refiner or all, got '{stage}'")
    check_config(config)
    device = pick_device(config.device)
    folder = check_output_dir(Path(config.out) / config.name, "--out")
    best = folder / "segmenter" / "best.safetensors"
    if stage == "refiner" and not best.is_file():
        raise MagNetError(
            f"stage: the refiner needs a trained segmenter, but '{best}' is missing; run --stage segmenter first"
        )
    sizes = config.network_sizes
    train = [ScaleCache(d, sizes, config.data.cache_mb) for d in open_split(config.data, "train", extra=True)]
    val = ScaleCache(open_split(config.data, "val")[0], sizes, config.data.cache_mb)
    for cache in [*train, val]:
        cache.preload()
    _write_config(config, folder / "config.json")
    log = RunLog(folder / "log.jsonl")
    try:
        if stage in ("segmenter", "all"):
            train_segmenter(config, train, val, device, folder / "segmenter", log)
        if stage in ("refiner", "all"):
            from magnet.training.refiner import train_refiner

            train_refiner(config, train, val, device, folder, log)
    finally:
        log.close()
    return folder / "model" if stage != "segmenter" else folder / "segmenter"


def _write_config(config: TrainConfig, path: Path) -> None:
    from dataclasses import asdict

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


def recipe_path(value: str) -> str:
    """A YAML file, or the name of a bundled recipe."""
    if not Path(value).exists() and (RECIPES / f"{value}.yaml").is_file():
        return str(RECIPES / f"{value}.yaml")
    return value


def add_train_arguments(parser: Any) -> None:
    """Add ``--config`` and every key of the configuration to a jsonargparse parser."""
    parser.add_argument("--config", action="config", help="YAML file, or the name of a bundled recipe")
    parser.add_class_arguments(TrainConfig)


def build_train_parser(prog: str = "magnet train") -> Any:
    """The jsonargparse parser of ``magnet train``."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=prog, description="Train a segmenter and its refiners on labelled images.", exit_on_error=False
    )
    add_train_arguments(parser)
    return parser


def parse_config(arguments: Sequence[str], parser: Any = None) -> TrainConfig:
    """Turn command-line arguments into a configuration. Exits with code 2 on wrong ones."""
    from argparse import ArgumentError

    parser = parser or build_train_parser()
    words = list(arguments)
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            words[i + 1] = recipe_path(words[i + 1])
        elif word.startswith("--config="):
            words[i] = "--config=" + recipe_path(word.removeprefix("--config="))
    try:
        namespace = parser.instantiate_classes(parser.parse_args(words)).as_dict()
    except (ArgumentError, UnicodeDecodeError) as error:  # in one line, without the page of usage
        text = " ".join(str(error).split())
        if isinstance(error, UnicodeDecodeError):
            text = f"--config: expected a YAML file in UTF-8 ({text})"
        print(f"{parser.prog}: error: {text}; see {parser.prog} --help", file=sys.stderr)
        raise SystemExit(2) from error
    namespace.pop("config", None)
    return TrainConfig(**namespace)


def main(argv: Sequence[str]) -> int:
    """``magnet train``: returns 0, or raises MagNetError for the command line to report."""
    config = parse_config(argv)
    folder = run_training(config)
    print(f"done: {folder}")
    return 0
