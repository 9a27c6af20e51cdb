"""Networks: segmenters that map normalised images to logits, and refinement modules."""

from __future__ import annotations

import importlib
import os
from typing import Any

from torch import nn

from magnet.checkpoints.fit import load_weights
from magnet.checks import check_channels
from magnet.errors import shown
from magnet.networks.limits import check_num_classes
from magnet.networks.refinement import RefinementModule
from magnet.networks.timm_encoder import TimmEncoder, check_encoder

__all__ = [
    "ON_ENCODERS",
    "REFINERS",
    "SEGMENTERS",
    "RefinementModule",
    "build_refiner",
    "build_segmenter",
    "check_on_encoder",
]

# name -> (module, factory taking num_classes and channels); imported when asked for, so that one network's import is
# all one pays
_FACTORIES = {
    "compact": ("magnet.networks.compact", "Compact"),
    "hrnet18+ocr": ("magnet.networks.ocr", "hrnet18_ocr"),
    "hrnet48+ocr": ("magnet.networks.ocr", "hrnet48_ocr"),
    "fpn": ("magnet.networks.fpn", "FPN"),
    "psp": ("magnet.networks.psp", "PSPNet"),
}
# those that work on an encoder: in place of their own ResNet, or on nothing else
_ON_ENCODERS = {
    "fpn": _FACTORIES["fpn"],
    "psp": _FACTORIES["psp"],
    "fpn-lite": ("magnet.networks.fpn_lite", "FPNLite"),
}
SEGMENTERS = tuple(_FACTORIES)
ON_ENCODERS = tuple(_ON_ENCODERS)
_REFINERS = {
    "merge": ("magnet.networks.refinement", "RefinementModule"),
    "guided": ("magnet.networks.guided", "GuidedRefinement"),
}
REFINERS = tuple(_REFINERS)


def build_segmenter(
    name: str,
    num_classes: int,
    *,
    channels: int = 3,
    weights: str | os.PathLike[str] | None = None,
    encoder: str | None = None,
) -> nn.Module:
    """Build a segmenter: (N, channels, H, W) normalised images -> (N, num_classes, H, W) logits.

    Args:
        name: one of ``SEGMENTERS``: "compact", "hrnet18+ocr", "hrnet48+ocr", "fpn", "psp"; with an encoder one of
            ``ON_ENCODERS``: "fpn", "psp", "fpn-lite".
        num_classes: number of classes.
        channels: of the images, 1 to 16; the network keeps it as ``in_channels``.
        weights: a .safetensors file, or a .pth / .pt state dict, loaded strictly; None: random weights, to be trained.
        encoder: a network of timm that gives the features, as "timm:resnet34", in place of the network's own ResNet;
            with random weights, as timm is asked for none. ``magnet.training.backbone.load_backbone`` loads a file of
            its own. Images are brought to the mean and deviation that timm has for it.

    Raises:
        TypeError, ValueError: unknown name, num_classes is not an int of 1 to 10,000, channels one of 1 to 16, or
            encoder no such text, or one that the network does without or cannot do without.
        MagNetError: the weights are missing, corrupt, or do not fit the network; timm is not installed, has no such
            network, or it gives no features.
    """
    known = tuple(dict.fromkeys((*SEGMENTERS, *ON_ENCODERS)))
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"name: expected one of {', '.join(map(repr, known))}, got {shown(name)}")
    check_num_classes(num_classes)
    check_channels(channels)
    check_on_encoder(name, encoder)
    given: dict[str, Any] = {}
    if encoder is not None:
        given["encoder"] = TimmEncoder(encoder, channels)
    module, factory = {**_FACTORIES, **_ON_ENCODERS}[name]
    network: nn.Module = getattr(importlib.import_module(module), factory)(num_classes, channels=channels, **given)
    if weights is not None:
        load_weights(weights, network)
    return network


def check_on_encoder(name: str, encoder: Any) -> None:
    """Check an encoder, or None, for a network of this name, without importing what makes it.

    Raises:
        TypeError, ValueError: it is no name of an encoder, or the network does without or cannot do without.
    """
    if encoder is not None:
        check_encoder(encoder)
        if name not in ON_ENCODERS:
            raise ValueError(
                f"encoder: expected none for '{name}', only for {', '.join(ON_ENCODERS)}, got {shown(encoder)}; leave "
                "it out, or choose one of these"
            )
    elif name not in SEGMENTERS:
        raise ValueError(
            f"encoder: expected the encoder that '{name}' works on, as 'timm:mobilenetv3_small_100', got none; give one"
        )


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
