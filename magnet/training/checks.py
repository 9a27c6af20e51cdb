"""What a configuration must satisfy, checked before any work: a mistake should not cost a night of training.

What one value may be stands beside it in ``magnet.training.config``; here is what settings mean together.
"""

from __future__ import annotations

import os
from pathlib import Path

from magnet.data.open import check_data
from magnet.errors import ArgumentError
from magnet.networks import ON_ENCODERS, SEGMENTERS, check_on_encoder
from magnet.networks.factory import check_args, check_factory, check_trust
from magnet.networks.segmenter import check_options
from magnet.training.backbone import BACKBONES
from magnet.training.config import (
    AugmentConfig,
    RefinerConfig,
    SegmenterConfig,
    TrainConfig,
    WrapConfig,
)
from magnet.training.values import check_values

__all__ = ["check_config"]

_StageConfig = SegmenterConfig | RefinerConfig


def check_config(config: TrainConfig) -> None:
    """Everything that can be told without the data.

    Raises:
        ArgumentError: names the key, what was expected and what came.
    """
    check_values(config)
    _need("out", config.out, config.out != "", "a folder")
    if config.resume and config.overwrite:
        raise ArgumentError("overwrite: expected none with --resume, which goes on with what is there; leave one out")
    _check_walk(config)
    check_data(config.data)
    for split in ("train", "val"):
        if config.data.format == "list" and not config.data.generated.train and not getattr(config.data.lists, split):
            raise ArgumentError(
                f"data.lists.{split}: expected a list of lines image<TAB>label (data.format is list); add "
                f"--data.lists.{split} FILE"
            )
    _check_segmenter(config.segmenter, len(config.walk.scales))
    _check_network(config)
    stages: list[tuple[str, _StageConfig]] = [("segmenter", config.segmenter), ("refiner", config.refiner)]
    for name, stage in stages:
        _check_stage(name, stage)
        if config.stage in (name, "all") and (name == "refiner" or config.segmenter.train):
            _check_length(name, stage)
    plain, augment = AugmentConfig(), config.refiner.augment
    for key in ("rotate", "crop", "zoom"):
        value = getattr(augment, key)
        holds = value == getattr(plain, key)
        _need(f"refiner.augment.{key}", value, holds, f"{getattr(plain, key)!r}, as its patches follow one another")
    crop, size = config.refiner.crop, config.input_size
    if crop is not None and not all(c <= s for c, s in zip(crop, size, strict=True)):
        raise ArgumentError(
            f"refiner.crop: expected a size (H, W) of at most {size}, what the network sees, got {crop}"
        )


def _need(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ArgumentError(f"{key}: expected {expected}, got {value!r}")


def _check_walk(config: TrainConfig) -> None:
    try:  # the model's own checks; it gets the colours that it matches from the images
        config.walk.settings(match_colours=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"walk.{error}") from error
    scales = config.walk.scales
    if config.stage != "segmenter" and len(scales) == 1:
        raise ArgumentError(
            f"walk.scales: expected at least two, between which the refiner works, got {scales}; add one, or train the "
            "segmenter alone with --stage segmenter"
        )


def _check_segmenter(segmenter: SegmenterConfig, scales: int) -> None:
    drawn = segmenter.scale_weights
    if drawn and (len(drawn) != scales or sum(drawn) <= 0):
        raise ArgumentError(
            f"segmenter.scale_weights: expected {scales} weights, one a scale, not all 0, got {list(drawn)}"
        )


def _check_network(config: TrainConfig) -> None:
    """Which network is trained, and what it starts from."""
    segmenter = config.segmenter
    weights = segmenter.weights
    known = dict.fromkeys((*SEGMENTERS, *ON_ENCODERS))
    if segmenter.network not in known:
        raise ArgumentError(f"segmenter.network: expected one of {', '.join(known)}, got '{segmenter.network}'")
    if weights and segmenter.init:
        raise ArgumentError(
            f"segmenter.weights: expected none where segmenter.init starts from a whole model, got '{weights}'"
        )
    if weights and not Path(weights).is_file() and not (segmenter.factory and Path(weights).is_dir()):
        kind = "is no file" if os.path.lexists(weights) else "does not exist"
        raise ArgumentError(f"segmenter.weights: expected a file, but '{weights}' {kind}; check the path")
    if segmenter.factory:
        _check_factory(config)
    elif segmenter.args or segmenter.wrap != WrapConfig():
        raise ArgumentError(
            "segmenter.factory: expected the factory that segmenter.args and segmenter.wrap are for, got none; add it, "
            "or take them out"
        )
    else:
        try:
            check_on_encoder(segmenter.network, segmenter.encoder or None)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"segmenter.{error}") from error
    if weights and not segmenter.factory and not segmenter.encoder and segmenter.network not in BACKBONES:
        raise ArgumentError(
            f"segmenter.weights: expected none for '{segmenter.network}', only for {', '.join(BACKBONES)}; "
            "segmenter.init starts from a model of this library"
        )
    if segmenter.train:
        return
    whole = "weights" if segmenter.factory and not segmenter.init else "init"
    if not getattr(segmenter, whole):
        raise ArgumentError(
            f"segmenter.{whole}: expected the weights of the network, which segmenter.train says is finished, got "
            f"none; add segmenter.{whole}, or let it be trained"
        )
    if config.stage == "segmenter":
        raise ArgumentError(
            "stage: expected refiner or all, as segmenter.train says that the segmenter is finished, got segmenter; "
            "give --stage refiner, or --segmenter.train true"
        )


def _check_factory(config: TrainConfig) -> None:
    segmenter = config.segmenter
    try:
        check_factory(segmenter.factory)
        check_args(segmenter.args)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"segmenter.{error}") from error
    try:
        check_options(segmenter.wrap.options(), config.data.channels)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"segmenter.wrap.{error}") from error
    if segmenter.network != SegmenterConfig().network:
        raise ArgumentError(
            f"segmenter.network: expected none beside segmenter.factory, '{segmenter.factory}', got "
            f"'{segmenter.network}'; leave one out"
        )
    if segmenter.encoder:
        raise ArgumentError(
            f"segmenter.encoder: expected none beside segmenter.factory, '{segmenter.factory}', got "
            f"'{segmenter.encoder}'; leave one out"
        )
    check_trust(segmenter.factory, config.trust, "segmenter.factory: the segmenter")


def _check_length(name: str, stage: _StageConfig) -> None:
    """A stage that is to run is as long as one of two keys says."""
    if (stage.iterations > 0) == (stage.epochs > 0):
        given = f"iterations {stage.iterations} and epochs {stage.epochs:g}" if stage.epochs else "neither"
        raise ArgumentError(
            f"{name}.iterations: expected either iterations or epochs above 0, the other 0, got {given}"
        )


def _check_stage(name: str, stage: _StageConfig) -> None:
    parts = stage.accumulate
    _need(f"{name}.accumulate", parts, parts <= stage.batch_size, f"1 to batch_size, {stage.batch_size}")
    weights = stage.class_weights
    _need(f"{name}.class_weights", list(weights), not weights or sum(weights) > 0, "weights that are not all 0")
    low, high = stage.augment.zoom
    _need(f"{name}.augment.zoom", stage.augment.zoom, low <= high, "two magnifications, the least first")
    patience = stage.patience
    _need(
        f"{name}.patience",
        patience,
        patience == 0 or stage.val_every > 0,
        f"0 where {name}.val_every is 0 (at the end)",
    )
