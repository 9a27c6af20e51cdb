"""An image that an exported program is tried with, and how well its labels agree with those of ``predict``."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magnet.bounds import MIN_SCENE_SIDE, Size
from magnet.data.scenes import generate_scene
from magnet.errors import MagNetError
from magnet.images.tensors import resize, to_tensor
from magnet.model.magnet import MagNet

__all__ = ["LEAST", "agreement", "check_agreement", "fitted", "generated"]

LEAST = 0.9999  # of the pixels: programs of other compilers round in other ways


def generated(channels: int, size: Size) -> Tensor:
    """A drawn street scene (channels, H, W) in [0, 1]; channels other than three are its colours in turn."""
    height, width = (max(side, MIN_SCENE_SIDE) for side in size)
    scene = Image.fromarray(generate_scene((height, width), seed=2021)[0])
    pixels = np.asarray(scene.resize(size[::-1], Image.Resampling.BOX))
    return to_tensor(pixels[..., [i % 3 for i in range(channels)]])


def fitted(pixels: Tensor, size: Size) -> Tensor:
    """An image (C, H, W) in [0, 1], resized to ``size``."""
    return resize(pixels[None], size)[0].clamp(0, 1)


def agreement(model: MagNet, labels: Tensor, image: Tensor) -> float:
    """The share of the pixels of an image (C, H, W) to which labels (H, W) give the class that ``predict`` gives."""
    expected = model.predict(image, probabilities=False, progress=False).labels
    return (labels.to(expected) == expected).double().mean().item()


def check_agreement(share: float, format: str) -> None:
    """Raise MagNetError where too few labels agree."""
    if not share >= LEAST:
        raise MagNetError(
            f"format: expected the labels of predict() on {100 * LEAST:.2f}% of the pixels of the image that the "
            f"{format} file was tried with, got {100 * share:.2f}%, so that nothing was written; try another "
            "image, and report it with the model's config.json"
        )


def batch_of(image: Tensor) -> Tensor:
    """(C, H, W) -> (1, C, H, W), as programs take it."""
    return image[None].to(torch.float32).contiguous()
