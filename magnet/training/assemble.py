"""The model that a run ends with: its best segmenter and its best refiners, joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from magnet.checkpoints.fit import load_weights
from magnet.data import Dataset, ScaleCache, colours_of
from magnet.data.dataset import label_mapping
from magnet.images.match_colours import channel_statistics
from magnet.model.class_ids import MAPPING
from magnet.model.magnet import MagNet
from magnet.training.config import TrainConfig
from magnet.training.pairs import build_refiners
from magnet.training.refiner import load_segmenter

__all__ = ["save_model"]


def save_model(config: TrainConfig, dataset: Dataset, train: Sequence[ScaleCache], folder: Path) -> None:
    """Join the best segmenter and the best refiners of a run into ``folder/model``; names and colours from the data."""
    num_classes = dataset.num_classes
    cpu = torch.device("cpu")
    segmenter = load_segmenter(config, num_classes, folder / "segmenter" / "best.safetensors", cpu)
    refiners = build_refiners(config, num_classes)
    load_weights(folder / "refiner" / "best.safetensors", refiners)
    # n_patches are those of MagNet-Fast, which a model does only where it is asked to
    settings = config.walk.settings(n_patches=None, colour_statistics=channel_statistics(_small_images(train)))
    model = MagNet(
        segmenter,
        list(refiners),
        class_names=dataset.class_names,
        colours=colours_of(dataset),
        **asdict(config.data.inputs),
        **asdict(settings),
    )
    mapping = label_mapping(dataset)  # for predictions with the ids of the data set
    kept = {} if mapping is None else {MAPPING: mapping}
    info = {**kept, **config.info, "recipe": config.name, "seed": config.seed}
    model.save_pretrained(folder / "model", half=config.half, info=info, overwrite=config.overwrite)


def _small_images(train: Sequence[ScaleCache], most: int = 200) -> Iterator[np.ndarray]:
    """Training images at the first scale, at most so many, evenly chosen; of rasters the pixels that hold a value."""
    images = [(cache, index) for cache in train for index in range(len(cache))]
    for cache, index in images[:: -(-len(images) // most)]:
        pixels = cache.seen(index)
        if pixels.size:
            yield pixels
