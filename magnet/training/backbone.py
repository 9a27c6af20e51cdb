"""Starting a segmenter from a backbone that learnt to classify ImageNet, as the published models did."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import nn
from tqdm import tqdm

from magnet.checkpoints.errors import CheckpointError
from magnet.checkpoints.fit import LoadReport, load_state
from magnet.checkpoints.state_dicts import read_state_dict
from magnet.errors import MagNetError
from magnet.networks.hrnet import HRNet
from magnet.networks.resnet import ResNet
from magnet.networks.timm_encoder import TimmEncoder
from magnet.training.encoder_weights import COUNTER, WRAPPERS, for_channels, match_encoder

__all__ = ["BACKBONES", "load_backbone"]

# network -> whose weights fit its backbone
BACKBONES = {
    "hrnet18+ocr": "HRNet-W18-small-v2",
    "hrnet48+ocr": "HRNet-W48",
    "fpn": "torchvision's ResNet-50",
    "psp": "torchvision's ResNet-101",
}
_HRNET = ["conv1", "bn1", "conv2", "bn2", "layer1"]
_HRNET += ["transition1", "stage2", "transition2", "stage3", "transition3", "stage4"]
_CLASSIFIERS = ("fc.", "classifier.", "final_layer.", "incre_modules.", "downsamp_modules.")  # of ResNet; of HRNet
_SHOWN = 6


def _backbone_keys(network: nn.Module) -> dict[str, str]:
    """Key in a backbone's own file -> key in the network."""
    keys = list(network.state_dict())
    if isinstance(network, HRNet):
        return {key: key for key in keys if key.split(".", 1)[0] in _HRNET}
    for name, child in network.named_children():
        if isinstance(child, ResNet):
            return {key.removeprefix(f"{name}."): key for key in keys if key.startswith(f"{name}.")}
    raise MagNetError(
        f"segmenter.weights: {type(network).__name__} has no backbone for which there are ImageNet weights; expected "
        f"one of {', '.join(BACKBONES)}"
    )


def load_backbone(network: nn.Module, path: str | os.PathLike[str], *, tell: bool = True) -> LoadReport:
    """Copy ImageNet weights into the backbone of a segmenter; its heads stay as they are.

    For images of other than three channels the first convolution takes the mean of its weights over R, G and B in each
    channel, times 3 over their number: its answer to an image that is grey in all channels stays the same.

    Args:
        network: from ``build_segmenter``: "hrnet18+ocr", "hrnet48+ocr" (files in HRNet's layout), "fpn" (torchvision's
            ResNet-50), "psp" (torchvision's ResNet-101), or any with an encoder (files of timm's network of that name,
            or of another layout that timm knows for it).
        path: a .safetensors file, or a .pth / .pt state dict, read without running code in it.
        tell: print what was loaded, in one line.

    Returns:
        What was loaded, and what was left out of the file: its classifier.

    Raises:
        CheckpointError: a tensor of the backbone is missing or of another shape, or the file holds more than a backbone
            and its classifier; nothing is loaded.
        MagNetError: the file cannot be read, or the network has no such backbone.
    """
    encoder = getattr(network, "encoder", None)
    if isinstance(encoder, TimmEncoder):
        return _load_encoder(network, encoder, path, tell)
    expected = _backbone_keys(network)
    state, own = read_state_dict(path), network.state_dict()
    prefix = max(WRAPPERS, key=lambda p: sum(p + key in state for key in expected))
    tensors = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    ignored = [key for key in state if key.removeprefix(prefix).startswith(_CLASSIFIERS)]
    strange = [key for key in state if key not in ignored and key.removeprefix(prefix) not in expected]
    if strange and not any(key in tensors for key in expected):
        raise CheckpointError(
            f"segmenter.weights: '{path}' holds no tensor of the backbone of {type(network).__name__}; its first keys "
            f"are {', '.join(strange[:_SHOWN])}",
            unexpected=strange,
        )
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise CheckpointError(
            f"segmenter.weights: '{path}' holds more than a backbone and its classifier: "
            f"{', '.join(strange[:_SHOWN])}{more}; expected ImageNet weights; segmenter.init starts from a whole model",
            unexpected=strange,
        )
    given = {name: tensors[key] for key, name in expected.items() if key in tensors}
    channels = getattr(network, "in_channels", 3)
    adapted = _adapted(for_channels(given, own, channels), channels)
    for name in expected.values():
        if name not in given and not name.endswith(COUNTER):
            own.pop(name)
    load_state(network, {**own, **given}, source=path)
    if tell:
        _tell(path, len(given), len(expected), adapted, ignored)
    return LoadReport(str(path), prefix, tuple(given), tuple(ignored))


def _load_encoder(network: nn.Module, encoder: TimmEncoder, path: str | os.PathLike[str], tell: bool) -> LoadReport:
    found = match_encoder(network, encoder, read_state_dict(path), path)
    load_state(network, {**network.state_dict(), **found.given}, source=path)
    if tell:
        mean, std = encoder.normalization()
        seen = _adapted(found.adapted, encoder.in_channels) or f"; it sees images of mean {mean} and deviation {std}"
        _tell(path, len(found.given), found.wanted, seen, found.left)
    return LoadReport(str(path), found.prefix, tuple(found.given), tuple(found.left))


def _adapted(adapted: bool, channels: int) -> str:
    return f"; the first convolution, of RGB, is adapted to {channels} channels by its mean" if adapted else ""


def _tell(path: str | os.PathLike[str], loaded: int, wanted: int, adapted: str, ignored: Sequence[str]) -> None:
    left = f"; left out: {', '.join(ignored[:_SHOWN])}" if ignored else ""
    more = f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else ""
    tqdm.write(f"segmenter.weights: {loaded} of {wanted} backbone tensors from '{path}'{adapted}{left}{more}")
