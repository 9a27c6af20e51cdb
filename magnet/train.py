"""``magnet train``: a segmenter and its refiners from one YAML file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from magnet.data import ScaleCache
from magnet.data.counting import check_labels, keep_counts
from magnet.data.open import open_split
from magnet.distributed import check_same, check_shared, is_main, session
from magnet.errors import MagNetError
from magnet.files import atomic_path, check_output_dir, remove_leftovers
from magnet.training.checks import check_config
from magnet.training.config import TrainConfig, with_steps
from magnet.training.keys import check_file, explain, one_length

__all__ = ["TrainConfig", "add_train_arguments", "build_train_parser", "main", "open_split", "run_training"]

RECIPES = Path(__file__).parent / "recipes"
_FLAGS = ("--resume", "--compile", "--tensorboard", "--half")  # may stand without a value


def run_training(config: TrainConfig, stage: str | None = None) -> Path:
    """Train the segmenter, the refiners, or both, and return the folder of the model.

    Files of ``<out>/<name>``: ``segmenter/`` and ``refiner/`` with ``last`` and ``best`` weights and the training
    ``state`` (all safetensors), ``log.jsonl``, ``config.json``, ``labels.json`` (what the labels hold, and which files
    they are: those are not read again), with ``config.tensorboard`` the folder ``tensorboard``, and after the refiner
    stage ``model/``, which ``MagNet.from_pretrained`` reads. With ``config.resume`` each stage goes on from its
    training state, as if it had never stopped.

    Args:
        config: the run.
        stage: "segmenter", "refiner" (needs the segmenter's checkpoint in the folder) or "all"; default: config.stage.

    Raises:
        MagNetError: bad data or configuration, an unwritable folder, a loss that is not finite.
        SystemExit: SIGTERM, SIGINT or SIGHUP came, and the training state is saved.
    """
    from magnet.training.board import check_tensorboard
    from magnet.training.engine import check_parts
    from magnet.training.loop import Loss, check_amp, pick_device
    from magnet.training.runlog import RunLog

    stage = stage or config.stage
    if stage not in ("segmenter", "refiner", "all"):
        raise MagNetError(f"stage: expected segmenter, refiner or all, got '{stage}'")
    check_config(replace(config, stage=stage))  # type: ignore[arg-type]
    device = pick_device(config.device)
    check_amp(device, config.amp)
    if config.tensorboard:
        check_tensorboard()
    folder = check_output_dir(Path(config.out) / config.name, "--out")
    best = folder / "segmenter" / "best.safetensors"
    if stage == "refiner" and not best.is_file():
        raise MagNetError(
            f"stage: the refiner needs a trained segmenter, but '{best}' is missing; run --stage segmenter first"
        )
    sizes = config.network_sizes
    train = [ScaleCache(d, sizes, config.data.cache_mb) for d in open_split(config.data, "train", extra=True)]
    val = ScaleCache(open_split(config.data, "val")[0], sizes, config.data.cache_mb)
    check_same("data", [len(cache) for cache in [*train, val]])
    stages = ["segmenter", "refiner"] if stage == "all" else [stage]
    for name in stages:  # before the data are read, and above all before a first stage of hours
        Loss.of(getattr(config, name), val.dataset.num_classes, device)
        check_parts(getattr(config, name), name)
    go_on = config.resume or stage == "refiner"
    counted = check_labels([cache.dataset for cache in train], val.dataset, folder, go_on=go_on)
    for cache in [*train, val]:
        cache.preload()
    if "refiner" in stages:
        from magnet.training.assemble import save_model
        from magnet.training.refiner import check_scales, train_refiner

        check_scales(config, train, val)
    if is_main():
        remove_leftovers(folder)
        _write_config(config, folder / "config.json")
        keep_counts(folder, counted)
    check_shared("--out", folder / "config.json")
    config = with_steps(config, sum(len(cache) for cache in train))
    log = RunLog(folder / "log.jsonl" if is_main() else None)
    try:
        if "segmenter" in stages:
            from magnet.training.segmenter import train_segmenter

            train_segmenter(config, train, val, device, folder, log)
        if "refiner" in stages:
            train_refiner(config, train, val, device, folder, log)
            if is_main():
                remove_leftovers(folder / "model")
                save_model(config, val.dataset, train, folder)
    finally:
        log.close()
    return folder / ("segmenter" if stage == "segmenter" else "model")


def _write_config(config: TrainConfig, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(replace(config, resume=False)), indent=2) + "\n", encoding="utf-8")


def recipe_path(value: str) -> str:
    """A YAML file, or the name of a bundled recipe."""
    if not Path(value).is_file() and (RECIPES / f"{value}.yaml").is_file():
        return str(RECIPES / f"{value}.yaml")
    if not Path(value).exists():
        names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
        raise MagNetError(f"--config: expected a YAML file or a recipe ({', '.join(names)}), got '{value}'")
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
    words = one_length(arguments)
    try:
        for i, word in enumerate(words):
            if word in _FLAGS and (i + 1 == len(words) or words[i + 1].startswith("-")):
                words[i] = f"{word}=true"
            elif word == "--config" and i + 1 < len(words):
                words[i + 1] = recipe_path(words[i + 1])
                check_file(words[i + 1])
            elif word.startswith("--config="):
                path = recipe_path(word.removeprefix("--config="))
                check_file(path)
                words[i] = f"--config={path}"
        namespace = parser.instantiate_classes(parser.parse_args(words)).as_dict()
    except (ArgumentError, MagNetError) as error:  # in one line, without the page of usage
        print(f"{parser.prog}: error: {explain(str(error))}; see {parser.prog} --help", file=sys.stderr)
        raise SystemExit(2) from error
    namespace.pop("config", None)
    return TrainConfig(**namespace)


def main(argv: Sequence[str]) -> int:
    """``magnet train``: returns 0, or raises MagNetError for the command line to report."""
    config = parse_config(argv)
    with session(config.device):
        folder = run_training(config)
        print(f"done: {folder}")
    return 0
