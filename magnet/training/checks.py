"""What a configuration must satisfy, checked before any work: a mistake should not cost a night of training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magnet import settings
from magnet.errors import MagNetError
from magnet.networks import SEGMENTERS
from magnet.training.backbone import BACKBONES
from magnet.training.config import AugmentConfig, OptimConfig, RefinerConfig, SegmenterConfig, TrainConfig

__all__ = ["check_config"]


def check_config(config: TrainConfig) -> None:
    """Everything that can be told without the data.

    Raises:
        MagNetError: names the key, what was expected and what came.
    """
    if config.name in ("", ".", "..") or any(mark in config.name for mark in "/\\"):
        raise MagNetError(f"name: expected the name of a folder to make in --out, got '{config.name}'")
    for key in ("workers", "cache_mb"):
        value = getattr(config.data, key)
        _need(f"data.{key}", value, value >= 0, "an int of at least 0")
    every = config.checkpoint_every
    _need("checkpoint_every", every, every >= 0, "an int of at least 0 (0 = only when stopped and at the end)")
    _need("seed", config.seed, config.seed >= 0, "an int of at least 0")
    _check_walk(config)
    if config.segmenter.network not in SEGMENTERS:
        raise MagNetError(
            f"segmenter.network: expected one of {', '.join(SEGMENTERS)}, got '{config.segmenter.network}'"
        )
    weights, count = config.segmenter.scale_weights, len(config.walk.scales)
    if weights and (len(weights) != count or min(weights) < 0 or sum(weights) <= 0):
        raise MagNetError(f"segmenter.scale_weights: expected {count} weights, one a scale, got {list(weights)}")
    _check_weights(config.segmenter)
    _check_stage("segmenter", config.segmenter)
    _check_stage("refiner", config.refiner)
    for name in ("segmenter", "refiner"):
        if config.stage in (name, "all"):
            _check_length(name, getattr(config, name))
    plain, augment = AugmentConfig(), config.refiner.augment
    for key in ("rotate", "crop", "zoom"):
        value = getattr(augment, key)
        holds = value == getattr(plain, key)
        _need(f"refiner.augment.{key}", value, holds, f"{getattr(plain, key)!r}, as its patches follow one another")
    crop, size = config.refiner.crop, config.input_size
    if crop is not None and not all(1 <= c <= s for c, s in zip(crop, size, strict=True)):
        raise MagNetError(f"refiner.crop: expected a size (H, W) of at most {size}, what the network sees, got {crop}")


def _need(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise MagNetError(f"{key}: expected {expected}, got {value!r}")


def _check_walk(config: TrainConfig) -> None:
    walk = config.walk
    scales = walk.scales
    if not scales or any(min(size) < 1 for size in scales):
        raise MagNetError(f"walk.scales: expected a list of sizes [H, W] of at least 1, got {scales}")
    if any(b[0] < a[0] or b[1] < a[1] for a, b in itertools.pairwise(scales)):
        raise MagNetError(f"walk.scales: expected sizes from coarse to fine, got {scales}")
    _as_of_the_model(settings.check_scales, scales)
    _as_of_the_model(settings.check_size, "patch_size", walk.patch_size)
    _as_of_the_model(settings.check_size, "input_size", config.input_size)
    for size in config.network_sizes[1:]:
        if size[0] < config.input_size[0] or size[1] < config.input_size[1]:
            raise MagNetError(f"walk.patch_size: expected at most the second scale, {scales[1]}, got {walk.patch_size}")
    _as_of_the_model(settings.check_n_points, walk.n_points)
    _as_of_the_model(settings.check_n_patches, walk.n_patches, len(scales))
    _as_of_the_model(settings.check_kernel_size, walk.kernel_size)


def _as_of_the_model(check: Callable[..., Any], *arguments: object) -> None:
    """The model's own checks, which begin with the name of the setting."""
    try:
        check(*arguments)
    except (TypeError, ValueError) as error:
        raise MagNetError(f"walk.{error}") from error


def _check_weights(segmenter: SegmenterConfig) -> None:
    weights = segmenter.weights
    if weights and segmenter.init:
        raise MagNetError(
            f"segmenter.weights: expected none where segmenter.init starts from a whole model, got '{weights}'"
        )
    if weights and not Path(weights).is_file():
        raise MagNetError(f"segmenter.weights: expected a file, but '{weights}' does not exist; check the path")
    if weights and segmenter.network not in BACKBONES:
        raise MagNetError(
            f"segmenter.weights: expected none for '{segmenter.network}', only for {', '.join(BACKBONES)}; "
            "segmenter.init starts from a model of this library"
        )
    _need("segmenter.aux_weight", segmenter.aux_weight, segmenter.aux_weight >= 0, "a weight of at least 0")


def _check_length(name: str, stage: SegmenterConfig | RefinerConfig) -> None:
    """A stage that is to run is as long as one of two keys says."""
    if (stage.iterations > 0) == (stage.epochs > 0):
        given = f"iterations {stage.iterations} and epochs {stage.epochs:g}" if stage.epochs else "neither"
        raise MagNetError(f"{name}.iterations: expected either iterations or epochs above 0, the other 0, got {given}")


def _check_stage(name: str, stage: SegmenterConfig | RefinerConfig) -> None:
    _need(f"{name}.iterations", stage.iterations, stage.iterations >= 0, "an int of at least 1, or 0 for epochs")
    _need(f"{name}.epochs", stage.epochs, 0 <= stage.epochs < math.inf, "a number of at least 0 (0 = by iterations)")
    _need(f"{name}.batch_size", stage.batch_size, stage.batch_size >= 1, "an int of at least 1")
    parts = stage.accumulate
    _need(f"{name}.accumulate", parts, 1 <= parts <= stage.batch_size, f"1 to batch_size, {stage.batch_size}")
    _need(f"{name}.patience", stage.patience, stage.patience >= 0, "an int of at least 0 (0 = never stop early)")
    _need(f"{name}.val_every", stage.val_every, stage.val_every >= 0, "an int of at least 0 (0 = only at the end)")
    threshold, kept = stage.ohem_threshold, stage.ohem_min_kept
    _need(f"{name}.ohem_threshold", threshold, 0 < threshold <= 1, "a probability above 0, up to 1")
    _need(f"{name}.ohem_min_kept", kept, kept >= 0, "a count of pixels, 0 or more")
    _need(f"{name}.dice", stage.dice, stage.dice >= 0, "a weight of at least 0")
    _check_class_weights(f"{name}.class_weights", stage.class_weights)
    _check_optimiser(f"{name}.optim", stage.optim)
    _check_augment(f"{name}.augment", stage.augment)


def _check_class_weights(key: str, weights: Sequence[float]) -> None:
    holds = not weights or (min(weights) >= 0 and sum(weights) > 0)
    _need(key, list(weights), holds, "weights of at least 0, one a class")


def _check_optimiser(key: str, optim: OptimConfig) -> None:
    _need(f"{key}.lr", optim.lr, 0 < optim.lr < math.inf, "a learning rate above 0")
    _need(f"{key}.momentum", optim.momentum, 0 <= optim.momentum < 1, "a number from 0 to below 1")
    _need(f"{key}.steps", optim.steps, all(0 <= s <= 1 for s in optim.steps), "fractions of the run, 0 to 1")
    _need(f"{key}.weight_decay", optim.weight_decay, optim.weight_decay >= 0, "a number of at least 0")
    _need(f"{key}.warmup", optim.warmup, 0 <= optim.warmup <= 1, "a fraction of the run, 0 to 1")
    _need(f"{key}.clip", optim.clip, optim.clip >= 0, "a number of at least 0 (0 = no limit)")
    _need(f"{key}.ema", optim.ema, 0 <= optim.ema < 1, "a decay from 0 to below 1")


def _check_augment(key: str, augment: AugmentConfig) -> None:
    low, high = augment.zoom
    _need(f"{key}.zoom", augment.zoom, 0 < low <= high < math.inf, "two magnifications above 0, least and largest")
    for name in ("flip", "flip_vertical"):
        value = getattr(augment, name)
        _need(f"{key}.{name}", value, 0 <= value <= 1, "a probability, 0 to 1")
    for name in ("rotate", "brightness", "contrast", "saturation", "tint", "gamma", "noise"):
        value = getattr(augment, name)
        _need(f"{key}.{name}", value, 0 <= value < math.inf, "a number of at least 0 (0 = no change)")
