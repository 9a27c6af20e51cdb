"""Reading and writing weights: strict, with every key accounted for, and nothing half loaded or half written."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from magnet.checkpoints.errors import CheckpointError, listed
from magnet.checkpoints.safetensors_files import load_safetensors
from magnet.checkpoints.state_dicts import read_state_dict
from magnet.conventions import not_finite
from magnet.errors import MagNetError, printable, shown

_LOG = logging.getLogger("magnet")
_WRAPPERS = ("module.", "model.")  # what DataParallel and training wrappers put before the network's own keys
_WRAPPER_ONLY = ("loss.", "criterion.")  # a training wrapper's own buffers, such as class weights of its loss


@dataclass(frozen=True)
class LoadReport:
    """What became of each key of a checkpoint.

    Attributes:
        source: the file.
        prefix: what stood before the network's keys, such as "model."; "" if nothing.
        loaded: keys of the network; all of them.
        ignored: keys of the checkpoint that belong to a training wrapper or, with an explicit prefix, to other modules.
    """

    source: str
    prefix: str
    loaded: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class KeyReport:
    """What a checkpoint has for a network, key by key.

    Attributes:
        source: the file.
        prefix: what stands before the network's keys, such as "model."; "" if nothing.
        matched: keys of the network, of the right shape and kind in the checkpoint.
        ignored: key of the checkpoint -> why it is not the network's.
        missing: keys of the network that the checkpoint lacks.
        unexpected: keys of the checkpoint that the network lacks.
        mismatched: key -> (checkpoint's, network's) shape or dtype.
    """

    source: str
    prefix: str
    matched: tuple[str, ...]
    ignored: dict[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[str, str]]

    @property
    def fits(self) -> bool:
        """Whether the network can be loaded from it."""
        return not (self.missing or self.unexpected or self.mismatched)


def _shape(tensor: Tensor) -> str:
    return printable("x".join(map(str, tensor.shape)) or "scalar", 60)


def _kind(tensor: Tensor) -> str:
    """What must be the same in a network and a checkpoint beside the shape; "" for ordinary numbers."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "sparse or quantized"
    if tensor.is_complex():
        return "complex"
    return "" if tensor.is_floating_point() else "whole numbers"


def _class_counts(
    model: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[int, int] | None:
    """(checkpoint's, network's) number of classes, if that is what all mis-shaped convolutions differ by."""
    pairs = set()
    for key, own in expected.items():
        other = state.get(key)
        if other is None or own.ndim < 2 or other.shape == own.shape:
            continue
        if other.ndim != own.ndim or other.shape[1:] != own.shape[1:]:
            continue  # an input of 2 C channels, as in the refinement module; the classifier tells
        pairs.add((other.shape[0], own.shape[0]))
    known = getattr(model, "num_classes", None)
    if len(pairs) != 1 or (known is not None and {own for _, own in pairs} != {known}):
        return None
    return pairs.pop()


def load_state(model: nn.Module, state: Mapping[str, Tensor], *, source: str | os.PathLike[str]) -> None:
    """Copy ``state`` into ``model``; all of it fits, or nothing is changed.

    Args:
        model: any module; its dtypes and devices are kept.
        state: key -> tensor.
        source: where the state came from, for messages.

    Raises:
        CheckpointError: one error with every missing, unexpected and mis-shaped key; where the cause is another number
            of classes, it says both numbers.
        MagNetError: a weight is NaN or infinite, or has a shape and no values (device "meta").
    """
    expected = model.state_dict()
    report = _compare(model, state, source)
    if report.fits:
        _check_values({key: state[key] for key in expected}, source)  # in the network's order
        try:
            model.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:  # a kind of tensor that torch does not copy; its message may name every key
            raise MagNetError(
                f"weights: '{source}' could not be copied into {type(model).__name__} ({printable(error)}); save plain "
                "tensors"
            ) from error
        return
    missing, unexpected, mismatched = report.missing, report.unexpected, report.mismatched

    parts = []
    counts = _class_counts(model, state, expected) if mismatched and not missing and not unexpected else None
    if counts is not None:
        parts.append(
            f"the checkpoint is for {counts[0]} classes and the network for {counts[1]}; "
            f"build the network with num_classes={counts[0]}, or choose another checkpoint"
        )
    if missing:
        parts.append(f"{len(missing)} missing: {listed(missing)}")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected: {listed(unexpected)}")
    if mismatched:
        shown = [f"{key} (checkpoint {theirs}, network {ours})" for key, (theirs, ours) in mismatched.items()]
        parts.append(f"{len(shown)} mis-shaped: {listed(shown)}")
    fix = "" if counts is not None else "; build the network that the checkpoint was made for"
    message = f"weights: '{source}' does not fit {type(model).__name__} ({len(expected)} keys): {'; '.join(parts)}{fix}"
    raise CheckpointError(message, missing, unexpected, mismatched)


def _check_values(state: Mapping[str, Tensor], source: str | os.PathLike[str]) -> None:
    empty = [key for key, value in state.items() if value.is_meta]
    if empty:
        raise MagNetError(
            f"weights: '{source}' holds shapes without values (device 'meta'): {listed(empty)}; save the network's "
            "state dict after its weights were loaded"
        )
    bad = not_finite(state)
    if bad:
        raise MagNetError(
            f"weights: '{source}' holds NaN or infinity in {listed(bad)}; train again from an earlier state, or get "
            "the file again"
        )


def _compare(
    model: nn.Module,
    state: Mapping[str, Tensor],
    source: str | os.PathLike[str],
    prefix: str = "",
    ignored: Mapping[str, str] | None = None,
) -> KeyReport:
    """Every key of ``state``, its prefix gone, against the network's."""
    expected = model.state_dict()
    mismatched: dict[str, tuple[str, str]] = {}
    for key, own in expected.items():
        other = state.get(key)
        if other is None:
            continue
        if other.shape != own.shape:
            mismatched[key] = (_shape(other), _shape(own))
        elif _kind(other) != _kind(own):
            mismatched[key] = (str(other.dtype), str(own.dtype))
    return KeyReport(
        source=str(source),
        prefix=prefix,
        matched=tuple(key for key in expected if key in state and key not in mismatched),
        ignored=dict(ignored or {}),
        missing=tuple(key for key in expected if key not in state),
        unexpected=tuple(key for key in state if key not in expected),
        mismatched=mismatched,
    )


def _find_prefix(keys: Sequence[str], expected: Sequence[str]) -> str:
    """The chain of wrapper names under which most of the network's keys are found; "" if none fits better."""
    found, best, frontier = "", -1, [""]
    present = set(keys)
    while frontier:
        prefix = frontier.pop(0)
        count = sum(prefix + key in present for key in expected)
        if count > best:
            found, best = prefix, count
        if len(prefix) < 32:
            frontier += [prefix + w for w in _WRAPPERS if any(key.startswith(prefix + w) for key in keys)]
    # of any name, as a training program's own, where it is in front of every one of the network's keys
    expected = [key for key in expected if not key.endswith("num_batches_tracked")]  # which old files lack
    likely = [
        key.removesuffix(expected[0]) for key in keys if expected and best <= 0 and key.endswith(f".{expected[0]}")
    ]
    whole = [prefix for prefix in likely if all(prefix + key in present for key in expected)]
    return whole[0] if len(whole) == 1 else found


def load_official(path: str | os.PathLike[str], model: nn.Module, *, prefix: str | None = None) -> LoadReport:
    """Load a checkpoint of the public release into a segmenter or a refinement module, strictly.

    Args:
        path: a plain state dict (.pth, .pt) or a .safetensors file. It is read without running code in it.
        model: from ``build_segmenter(...)`` or ``RefinementModule(...)``, with the checkpoint's number of classes.
        prefix: take only the keys that start with this, such as "refinement_models.1." in a file of several modules;
            None: "module." and "model." are stripped where all the network's keys carry them, and any other where it
            is the only one.

    Returns:
        A :class:`LoadReport`. What belongs to a training wrapper ("loss.*", "criterion.*", anything outside the
        prefix) is ignored, listed there and logged as a warning.

    Raises:
        CheckpointError: keys are missing, unexpected or mis-shaped (all in one error), or another number of classes.
        MagNetError: the file is missing, truncated or corrupt.
    """
    own, report = match_official(path, model, prefix=prefix)
    load_state(model, own, source=path)
    ignored = tuple(report.ignored)
    if ignored:
        _LOG.warning(
            "'%s': ignored %d keys that are not the network's: %s", printable(path), len(ignored), listed(ignored)
        )
    return LoadReport(str(path), report.prefix, report.matched, ignored)


def match_official(
    path: str | os.PathLike[str], model: nn.Module, *, prefix: str | None = None
) -> tuple[dict[str, Tensor], KeyReport]:
    """Read a checkpoint of the public release and compare it with a network, which is left as it is.

    Args:
        path, model, prefix: as :func:`load_official`.

    Returns:
        The tensors by the network's keys, for :func:`load_state`, and what became of every key.

    Raises:
        MagNetError: the file is missing, truncated, corrupt, or holds more than tensors.
    """
    state = read_state_dict(path)
    expected = list(model.state_dict())
    if prefix is None:
        prefix = _find_prefix(list(state), expected)
    elif not any(key.startswith(prefix) for key in state):
        tops = sorted({key.split(".", 1)[0] + "." for key in state})
        raise MagNetError(f"prefix: no key of '{path}' starts with {shown(prefix)}; its keys start with {listed(tops)}")

    own: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        if name.startswith(_WRAPPER_ONLY) and name not in expected:
            ignored[key] = "of the loss that the network was trained with"
        elif not key.startswith(prefix):
            ignored[key] = f"not under '{prefix}', where the network's keys are"
        else:
            own[name] = tensor
    return own, _compare(model, own, path, prefix, ignored)


def load_weights(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Load a .safetensors file of this library, or a checkpoint of the public release, strictly.

    Raises:
        CheckpointError, MagNetError: as :func:`load_official`.
    """
    if Path(path).suffix == ".safetensors":
        load_state(model, load_safetensors(path)[0], source=path)
    else:
        load_official(path, model)
