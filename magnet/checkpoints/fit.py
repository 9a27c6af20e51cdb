"""Reading and writing weights: strict, with every key accounted for, and nothing half loaded or half written."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from magnet.conventions import not_finite
from magnet.errors import MagNetError, printable, shown
from magnet.files.atomic import atomic_path
from magnet.files.reading import check_file

_LOG = logging.getLogger("magnet")
_SHOWN = 6  # keys of each kind in an error message; the exception holds them all
_WRAPPERS = ("module.", "model.")  # what DataParallel and training wrappers put before the network's own keys
_WRAPPER_ONLY = ("loss.", "criterion.")  # a training wrapper's own buffers, such as class weights of its loss
_HARMLESS = ("torch.", "collections.OrderedDict", "_codecs.encode")  # in state dicts, too
_PACKED = 20  # times that a file may grow when it is unpacked; torch.save packs nothing
_HALF_MAX = torch.finfo(torch.float16).max


class CheckpointError(MagNetError):
    """Weights that do not fit a network; the attributes hold every key, where the message shows the first few.

    Attributes:
        missing: keys of the network that the checkpoint lacks.
        unexpected: keys of the checkpoint that the network lacks.
        mismatched: key -> (checkpoint's, network's) shape or dtype.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mismatched = dict(mismatched or {})


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


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(printable(item) for item in items[:_SHOWN]) + more


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
        parts.append(f"{len(missing)} missing: {_listed(missing)}")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected: {_listed(unexpected)}")
    if mismatched:
        shown = [f"{key} (checkpoint {theirs}, network {ours})" for key, (theirs, ours) in mismatched.items()]
        parts.append(f"{len(shown)} mis-shaped: {_listed(shown)}")
    fix = "" if counts is not None else "; build the network that the checkpoint was made for"
    message = f"weights: '{source}' does not fit {type(model).__name__} ({len(expected)} keys): {'; '.join(parts)}{fix}"
    raise CheckpointError(message, missing, unexpected, mismatched)


def _check_values(state: Mapping[str, Tensor], source: str | os.PathLike[str]) -> None:
    empty = [key for key, value in state.items() if value.is_meta]
    if empty:
        raise MagNetError(
            f"weights: '{source}' holds shapes without values (device 'meta'): {_listed(empty)}; save the network's "
            "state dict after its weights were loaded"
        )
    bad = not_finite(state)
    if bad:
        raise MagNetError(
            f"weights: '{source}' holds NaN or infinity in {_listed(bad)}; train again from an earlier state, or get "
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


def _unreadable(path: str | os.PathLike[str], error: Exception) -> MagNetError:
    reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0])
    if isinstance(error, pickle.UnpicklingError):
        reason = "no state dict could be unpickled"  # torch's own text advises to load it unsafely
    if isinstance(error, FileNotFoundError):
        return MagNetError(f"weights: expected a file, but '{path}' does not exist; check the path")
    if isinstance(error, (IsADirectoryError, PermissionError)):
        told = f"weights: expected a readable file, but '{path}' is not one ({error.strerror})"
        return MagNetError(f"{told}; check the path and its permissions")
    return MagNetError(f"weights: '{path}' is truncated, corrupt or not a checkpoint ({reason}); get the file again")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or from a .pth / .pt file without running any code in it.

    A dict that holds its state dict under "state_dict", "model_state_dict" or "model" is unwrapped.

    Raises:
        MagNetError: the file is missing, truncated or corrupt, or holds something else than a state dict.
    """
    if Path(path).suffix == ".safetensors":
        return load_safetensors(path)[0]
    try:
        check_file(path, "weights")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size, whole = os.path.getsize(path), sum(entry.file_size for entry in archive.infolist())
                if whole > _PACKED * size:
                    raise ValueError(f"it would take {whole} bytes, {_PACKED} times its size or more")
                damaged = archive.testzip()  # torch does not look at the checksums
            if damaged is not None:
                raise ValueError(f"the checksum of '{damaged}' in it is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of old and new pickles; what cannot be read is an error
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _refused(path)
        if refused or zipfile.is_zipfile(path):  # whole, so not a damaged file
            raise MagNetError(
                f"weights: '{path}' holds more than tensors{f' ({refused})' if refused else ''}, and reading such a "
                "file could run code in it, so nothing of it was read; save a plain state dict: "
                "torch.save(model.state_dict(), path)"
            ) from error
        raise _unreadable(path, error) from error
    except (MagNetError, MemoryError):
        raise
    except Exception as error:  # whatever is raised on the way, the file is what it came from
        raise _unreadable(path, error) from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise MagNetError(
            f"weights: '{path}' should hold a state dict (names to tensors), but holds a {type(content).__name__}"
            + (" with other values" if isinstance(content, Mapping) else "")
            + "; save one with torch.save(model.state_dict(), path)"
        )
    return {str(key): value for key, value in content.items()}


def _refused(path: str | os.PathLike[str]) -> str:
    """Names of what a pickle asks for beyond tensors, read from it without running it; "" where none are found."""
    names: set[str] = set()
    with contextlib.suppress(Exception):  # of any kind: it is given a file that may be anything
        if zipfile.is_zipfile(path):
            names.update(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        else:
            with open(path, "rb") as file:
                names.update(_globals(file))
    printable = (name for name in names if re.fullmatch(r"[\w.]+", name))  # a damaged file may hold anything
    return _listed(sorted(name for name in printable if not name.startswith(_HARMLESS)))


def _globals(file: BinaryIO) -> Iterator[str]:
    """What the pickles in a file import, found by reading their instructions."""
    texts: list[str] = []
    while True:
        for instruction, argument, _ in pickletools.genops(file):
            if instruction.name == "GLOBAL":
                yield str(argument).replace(" ", ".")
            elif instruction.name == "STACK_GLOBAL" and len(texts) >= 2:
                yield ".".join(texts[-2:])
            elif isinstance(argument, str) and "UNICODE" in instruction.name:
                texts.append(argument)


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
    return found


def load_official(path: str | os.PathLike[str], model: nn.Module, *, prefix: str | None = None) -> LoadReport:
    """Load a checkpoint of the public release into a segmenter or a refinement module, strictly.

    Args:
        path: a plain state dict (.pth, .pt) or a .safetensors file. It is read without running code in it.
        model: from ``build_segmenter(...)`` or ``RefinementModule(...)``, with the checkpoint's number of classes.
        prefix: take only the keys that start with this, such as "refinement_models.1." in a file of several modules;
            None: "module." and "model." are stripped where all the network's keys carry them.

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
            "'%s': ignored %d keys that are not the network's: %s", printable(path), len(ignored), _listed(ignored)
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
        raise MagNetError(
            f"prefix: no key of '{path}' starts with {shown(prefix)}; its keys start with {_listed(tops)}"
        )

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


def save_safetensors(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a state dict, whole or not at all.

    Args:
        path: the file to make or replace; its folder exists.
        state: key -> tensor, on any device.
        metadata: short texts stored beside the tensors.
        half: store floats of two or more dimensions in half precision; statistics and biases, small and sensitive,
            stay as they are.

    Raises:
        ValueError: ``half`` and a weight that half precision cannot hold.
        MagNetError: the file cannot be written.
    """
    tensors = {}
    for key, tensor in state.items():
        # clones: safetensors refuses tensors that share memory
        value = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        if half and value.is_floating_point() and value.ndim >= 2:
            if value.numel() and not bool((value.abs() <= _HALF_MAX).all()):
                raise ValueError(f"half: '{key}' holds values beyond {_HALF_MAX:.0f} or NaN; save with half=False")
            value = value.half()
        tensors[key] = value
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise MagNetError(
            f"weights: '{path}' could not be written ({error}); choose a folder that exists and has room"
        ) from error


def load_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`save_safetensors` wrote: the state dict (half precision becomes float32) and the metadata.

    Raises:
        MagNetError: the file is missing, truncated or corrupt.
    """
    try:
        check_file(path, "weights")
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except (MagNetError, MemoryError):
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    state = {key: value.float() if value.dtype == torch.float16 else value for key, value in state.items()}
    return state, metadata
