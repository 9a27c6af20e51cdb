"""Networks: segmenters that map normalised images to logits, and refinement modules."""

from __future__ import annotations

import importlib
import os

from torch import nn

from magnet.checkpoints.fit import load_weights
from magnet.checks import check_channels
from magnet.errors import shown
from magnet.networks.limits import check_num_classes
from magnet.networks.refinement import RefinementModule

__all__ = ["REFINERS", "SEGMENTERS", "RefinementModule", "build_refiner", "build_segmenter"]

# name -> (module, factory taking num_classes and channels); imported when asked for, so that one network's import is
# all one pays
_FACTORIES = {
    "compact": ("magnet.networks.compact", "Compact"),
    "hrnet18+ocr": ("magnet.networks.ocr", "hrnet18_ocr"),
    "hrnet48+ocr": ("magnet.networks.ocr", "hrnet48_ocr"),
    "fpn": ("magnet.networks.fpn", "ResNetFPN"),
    "psp": ("magnet.networks.psp", "PSPNet"),
}
SEGMENTERS = tuple(_FACTORIES)
_REFINERS = {
    "merge": ("magnet.networks.refinement", "RefinementModule"),
    "guided": ("magnet.networks.guided", "GuidedRefinement"),
}
REFINERS = tuple(_REFINERS)


def build_segmenter(
    name: str, num_classes: int, *, channels: int = 3, weights: str | os.PathLike[str] | None = None
) -> nn.Module:
    """Build a segmenter: (N, channels, H, W) normalised images -> (N, num_classes, H, W) logits.

    Args:
        name: one of ``SEGMENTERS``: "compact", "hrnet18+ocr", "hrnet48+ocr", "fpn", "psp".
        num_classes: number of classes.
        channels: of the images, 1 to 16; the network keeps it as ``in_channels``.
        weights: a .safetensors file, or a .pth / .pt state dict, loaded strictly; None: random weights, to be trained.

    Raises:
        ValueError: unknown name, num_classes is not an int of 1 to 10,000, or channels one of 1 to 16.
        MagNetError: the weights are missing, corrupt, or do not fit the network.
    """
    if not isinstance(name, str) or name not in _FACTORIES:
        raise ValueError(f"name: expected one of {', '.join(map(repr, SEGMENTERS))}, got {shown(name)}")
    check_num_classes(num_classes)
    check_channels(channels)
    module, factory = _FACTORIES[name]
    network: nn.Module = getattr(importlib.import_module(module), factory)(num_classes, channels=channels)
    if weights is not None:
        load_weights(weights, network)
    return network


def build_refiner(name: str, num_classes: int, *, channels: int = 3) -> nn.Module:
    """Build a refiner: two probability maps (N, num_classes, H, W) of the same pixels -> logits.

    Args:
        name: one of ``REFINERS``: "merge" is the paper's :class:`RefinementModule`; "guided" also sees the image, see
            :class:`magnet.networks.guided.GuidedRefinement`.
        num_classes: number of classes.
        channels: of the images, 1 to 16.

    Raises:
        ValueError: unknown name, or a bad number.
    """
    if not isinstance(name, str) or name not in REFINERS:
        raise ValueError(f"name: expected one of {', '.join(map(repr, REFINERS))}, got {shown(name)}")
    module, factory = _REFINERS[name]
    made = getattr(importlib.import_module(module), factory)
    return made(num_classes) if name == "merge" else made(num_classes, channels)  # type: ignore[no-any-return]
