"""Starting a segmenter from a backbone that learnt to classify ImageNet, as the published models did."""

from __future__ import annotations

import os

from torch import nn
from tqdm import tqdm

from magnet.checkpoints.errors import CheckpointError
from magnet.checkpoints.fit import LoadReport, load_state
from magnet.checkpoints.state_dicts import read_state_dict
from magnet.errors import MagNetError
from magnet.networks.hrnet import HRNet
from magnet.networks.resnet import ResNet

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
_WRAPPERS = ("", "module.", "model.")
_COUNTER = "num_batches_tracked"  # absent from files as old as torch 0.4; only a momentum of None reads it
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


def load_backbone(network: nn.Module, path: str | os.PathLike[str]) -> LoadReport:
    """Copy ImageNet weights into the backbone of a segmenter; its heads stay as they are.

    For images of other than three channels the first convolution takes the mean of its weights over R, G and B in each
    channel, times 3 over their number: its answer to an image that is grey in all channels stays the same.

    Args:
        network: from ``build_segmenter``: "hrnet18+ocr", "hrnet48+ocr" (files in HRNet's layout), "fpn" (torchvision's
            ResNet-50) or "psp" (torchvision's ResNet-101).
        path: a .safetensors file, or a .pth / .pt state dict, read without running code in it.

    Returns:
        What was loaded, and what was left out of the file: its classifier. Also printed, in one line.

    Raises:
        CheckpointError: a tensor of the backbone is missing or of another shape, or the file holds more than a backbone
            and its classifier; nothing is loaded.
        MagNetError: the file cannot be read, or the network has no such backbone.
    """
    expected = _backbone_keys(network)
    state = read_state_dict(path)
    prefix = max(_WRAPPERS, key=lambda p: sum(p + key in state for key in expected))
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    ignored = [key for key in state if key.removeprefix(prefix).startswith(_CLASSIFIERS)]
    strange = [key for key in state if key not in ignored and key.removeprefix(prefix) not in expected]
    if strange and not any(key in found for key in expected):
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
    own = network.state_dict()
    given = {name: found[key] for key, name in expected.items() if key in found}
    for name in expected.values():
        if name not in given and not name.endswith(_COUNTER):
            own.pop(name)
    adapted = ""
    channels, first = getattr(network, "in_channels", 3), given.get(expected["conv1.weight"])
    if channels != 3 and first is not None and first.ndim == 4 and first.shape[1] == 3:
        mean = first.float().mean(dim=1, keepdim=True) * (3 / channels)
        given[expected["conv1.weight"]] = mean.expand(-1, channels, -1, -1).to(first.dtype).contiguous()
        adapted = f"; the first convolution, of RGB, is adapted to {channels} channels by its mean"
    load_state(network, {**own, **given}, source=path)
    left = f"; left out: {', '.join(ignored[:_SHOWN])}" if ignored else ""
    more = f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else ""
    told = f"{len(given)} of {len(expected)} backbone tensors from '{path}'{adapted}{left}{more}"
    tqdm.write(f"segmenter.weights: {told}")
    return LoadReport(str(path), prefix, tuple(given), tuple(ignored))
