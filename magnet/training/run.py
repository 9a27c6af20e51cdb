"""A whole run: a segmenter and its refiners, by a configuration."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnet.data import ScaleCache
from magnet.data.counting import check_labels, keep_counts
from magnet.data.open import open_split
from magnet.devices import pick_amp, pick_device
from magnet.distributed import check_same, check_shared, is_main
from magnet.errors import ArgumentError, MagNetError
from magnet.files.atomic import check_output_dir, no_empty_folders, remove_leftovers
from magnet.files.locks import folder_lock
from magnet.notices import sum_up
from magnet.training.assemble import save_model
from magnet.training.board import check_tensorboard
from magnet.training.checks import check_config
from magnet.training.config import TrainConfig, with_steps
from magnet.training.declare import declared
from magnet.training.fields import as_fields
from magnet.training.loop import check_parts
from magnet.training.losses import Loss
from magnet.training.network import check_network
from magnet.training.refiner import check_scales, train_refiner
from magnet.training.run_folder import check_run_folder, write_config
from magnet.training.runlog import RunLog
from magnet.training.segmenter import keep_segmenter, train_segmenter

if TYPE_CHECKING:
    import torch

__all__ = ["run_training"]


def run_training(config: TrainConfig, stage: str | None = None) -> Path:
    """Train the segmenter, the refiners, or both, and return the folder of the model.

    Files of ``<out>/<name>``: ``segmenter/`` and ``refiner/`` with ``last`` and ``best`` weights and the training
    ``state`` (all safetensors), ``log.jsonl``, ``config.json``, ``labels.json`` (what the labels hold, and which files
    they are: those are not read again), with ``config.tensorboard`` the folder ``tensorboard``, and after the refiner
    stage ``model/``, which ``MagNet.from_pretrained`` reads. With ``config.resume`` each stage goes on from its
    training state, as if it had never stopped. The folder is locked for as long as that takes.

    Args:
        config: the run.
        stage: "segmenter", "refiner" (needs the segmenter's checkpoint in the folder, or ``segmenter.train: false``) or
            "all"; default: config.stage.

    Raises:
        ArgumentError: a bad configuration.
        MagNetError: bad data, an unwritable folder, one that another process trains in or that holds what would be
            replaced without ``config.overwrite``, a loss that is not finite.
        SystemExit: SIGTERM, SIGINT or SIGHUP came, and the training state is saved.
    """

    stage = stage or config.stage
    if stage not in ("segmenter", "refiner", "all"):
        raise ArgumentError(f"stage: expected segmenter, refiner or all, got '{stage}'")
    check_config(replace(config, stage=stage))  # type: ignore[arg-type]
    device = pick_device(config.device)
    config = replace(config, amp=pick_amp(device, config.amp))  # type: ignore[arg-type]
    if config.tensorboard:
        check_tensorboard()
    folder = Path(config.out) / config.name
    with no_empty_folders(folder):
        check_output_dir(folder, "--out")
        with folder_lock(folder) if is_main() else contextlib.nullcontext():
            return _train(config, stage, device, folder)


def _train(config: TrainConfig, stage: str, device: torch.device, folder: Path) -> Path:
    """``run_training`` in its folder."""
    best, finished = folder / "segmenter" / "best.safetensors", not config.segmenter.train
    if stage == "refiner" and not finished and not best.is_file():
        raise MagNetError(
            f"stage: the refiner needs a trained segmenter, but '{best}' is missing; run --stage segmenter first"
        )
    stages = ["segmenter", "refiner"] if stage == "all" or finished else [stage]
    trained = stages[1:] if finished else stages
    if is_main():
        check_run_folder(folder, stages, config)
    sizes = config.network_sizes
    trained_on, validated = open_split(config.data, "train", extra=True), open_split(config.data, "val")[0]
    check_same("amp", config.amp)  # "auto" goes by each process's device
    check_same("data", [len(dataset) for dataset in [*trained_on, validated]])
    go_on = config.resume or stage == "refiner"
    config = declared(config, trained_on, validated, folder, go_on=go_on)
    for name in trained:  # before the data are read, and above all before a first stage of hours
        Loss.of(getattr(config, name), validated.num_classes, device)
        check_parts(getattr(config, name), name)
    if "segmenter" in stages:
        check_network(config, validated)
    counted = check_labels(trained_on, validated, folder, go_on=go_on)
    *train, val = (
        ScaleCache(as_fields(dataset, sizes, config.walk.scales[-1]), sizes, config.data.cache_mb)
        for dataset in [*trained_on, validated]
    )
    for cache in [*train, val]:
        cache.preload()
    sum_up()
    if "refiner" in stages:
        check_scales(config, train, val)
    if is_main():
        remove_leftovers(folder)
        write_config(config, folder)
        keep_counts(folder, counted)
    check_shared("--out", folder / "config.json")
    config = with_steps(config, sum(len(cache) for cache in train))
    log = RunLog(folder / "log.jsonl" if is_main() else None)
    try:
        if "segmenter" in trained:
            train_segmenter(config, train, val, device, folder, log)
        elif "segmenter" in stages:
            keep_segmenter(config, val, device, folder, log)
        if "refiner" in stages:
            train_refiner(config, train, val, device, folder, log)
            if is_main():
                save_model(config, val.dataset, train, folder)
    finally:
        log.close()
    return folder / ("segmenter" if stage == "segmenter" else "model")
