"""The model that a run ends with: its best segmenter and its best refiners, joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from magnet.checkpoints.fit import load_weights
from magnet.data import Dataset, ScaleCache, colours_of
from magnet.images.match_colours import channel_statistics
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
    walk = config.walk
    model = MagNet(
        segmenter,
        list(refiners),
        scales=walk.scales,
        patch_size=walk.patch_size,
        input_size=walk.input_size,
        n_points=walk.n_points,
        kernel_size=walk.kernel_size,
        points_by=walk.points_by,
        follow_image=walk.follow_image,
        colour_statistics=channel_statistics(_small_images(train)),
        match_colours=walk.match_colours,
        class_names=dataset.class_names,
        colours=colours_of(dataset),
    )
    info = {**config.info, "recipe": config.name, "seed": config.seed}
    model.save_pretrained(folder / "model", half=config.half, info=info, overwrite=config.overwrite)


def _small_images(train: Sequence[ScaleCache], most: int = 200) -> Iterator[np.ndarray]:
    """Training images at the first scale, at most so many, evenly chosen."""
    images = [(cache, index) for cache in train for index in range(len(cache))]
    for cache, index in images[:: -(-len(images) // most)]:
        yield cache.get(index, 0)[0]
