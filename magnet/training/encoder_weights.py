"""Which tensors of a file are those of an encoder of timm: its features are named otherwise than its whole network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from magnet.checkpoints.errors import CheckpointError, listed
from magnet.networks.timm_encoder import TimmEncoder, as_timm_has_it, file_names, whole_network

__all__ = ["COUNTER", "WRAPPERS", "EncoderWeights", "for_channels", "match_encoder"]

COUNTER = "num_batches_tracked"  # absent from files as old as torch 0.4; only a momentum of None reads it
WRAPPERS = ("", "module.", "model.")
_INSIDE = "encoder.model."


class EncoderWeights(NamedTuple):
    """given: network's key -> tensor. prefix: of the file's keys. left: file's keys that are not the encoder's.

    adapted: whether the first convolution was made for other channels. wanted: how many tensors the encoder has.
    strange: of ``left`` what lies among the encoder's layers, as those of a deeper network do.
    """

    given: dict[str, Tensor]
    prefix: str
    left: list[str]
    adapted: bool
    wanted: int
    strange: list[str]


def match_encoder(
    network: nn.Module, encoder: TimmEncoder, state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> EncoderWeights:
    """Find an encoder's tensors in a file of timm's whole network, of its features, or of a layout that timm knows.

    Args:
        network: that has the encoder as ``encoder``.
        encoder: of timm.
        state: what the file holds.
        path: of the file, for messages.

    Raises:
        CheckpointError: a tensor is missing, of another shape, or of a layer that the encoder does not have.
    """
    own = {key: value for key, value in network.state_dict().items() if key.startswith(_INSIDE)}
    features = {key.removeprefix(_INSIDE): key for key in own}
    network_of_timm = whole_network(encoder.name)
    keys = list(network_of_timm.state_dict())
    whole = {key: features[name] for key in keys for name in file_names(key) if name in features}
    found = [
        _find(tensors, names, own, encoder.in_channels, keys)
        for tensors in (state, as_timm_has_it(network_of_timm, state))
        for names in (whole, features)
    ]
    best = max(found, key=lambda one: (_count(one.given, own), -len(one.strange)))  # the first of equal ones
    missing = [key for key in own if key not in best.given and not key.endswith(COUNTER)]
    shapes = {key: (_shape(value), _shape(own[key])) for key, value in best.given.items() if not _fits(value, own[key])}
    if not missing and not shapes and not best.strange:
        return best
    called = {name: key for key, name in whole.items()}  # as the file would have it
    parts = [f"missing: {listed([called.get(key, key) for key in missing])}"] if missing else []
    if shapes:
        told = [f"{called.get(key, key)} (file {a}, network {b})" for key, (a, b) in shapes.items()]
        parts.append(f"of another shape: {listed(told)}")
    if best.left:
        parts.append(f"not of it: {listed(best.strange or best.left)}")
    raise CheckpointError(
        f"segmenter.weights: '{path}' does not fit {encoder.name}, {_count(best.given, own)} of whose {len(own)} "
        f"tensors are in it; {'; '.join(parts)}; choose weights of this network of timm",
        missing,
        best.left,
        shapes,
    )


def for_channels(given: dict[str, Tensor], own: Mapping[str, Tensor], channels: int) -> bool:
    """Adapt convolutions that see images of R, G and B to ``channels``, in place; returns whether there were any.

    Each channel takes the mean of the weights over R, G and B, times 3 over their number.
    """
    found = [
        key
        for key, value in given.items()
        if channels != 3 and value.ndim == 4 and value.shape[1] == 3 and own[key].shape[1:2] == (channels,)
    ]
    for key in found:
        mean = given[key].float().mean(dim=1, keepdim=True) * (3 / channels)
        given[key] = mean.expand(-1, channels, -1, -1).to(given[key].dtype).contiguous()
    return bool(found)


def _find(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    own: Mapping[str, Tensor],
    channels: int,
    whole: Sequence[str],
) -> EncoderWeights:
    """What of ``state`` is called as ``names`` (file's key -> network's key) say; ``whole``: keys of all of timm's."""
    prefix = max(WRAPPERS, key=lambda one: sum(one + name in state for name in names))
    given = {key: state[prefix + name] for name, key in names.items() if prefix + name in state}
    left = [key for key in state if not key.startswith(prefix) or key.removeprefix(prefix) not in names]
    tops = {name.partition(".")[0] for name in names}
    strange = [
        key
        for key in left
        if (name := key.removeprefix(prefix)).partition(".")[0] in tops and name not in whole and given
    ]
    return EncoderWeights(given, prefix, left, for_channels(given, own, channels), len(own), strange)


def _fits(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape


def _count(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return sum(_fits(value, own[key]) for key, value in given.items())


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
