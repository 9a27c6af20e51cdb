"""Reading state dicts without running code that a file may hold."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from magnet.checkpoints.errors import listed, unreadable
from magnet.checkpoints.safetensors_files import load_safetensors
from magnet.errors import MagNetError
from magnet.files.reading import check_file, check_path

__all__ = ["read_state_dict"]


_HARMLESS = ("torch.", "collections.OrderedDict", "_codecs.encode")  # in state dicts, too
_PACKED = 20  # times that a file may grow when it is unpacked; torch.save packs nothing


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or from a .pth / .pt file without running any code in it.

    A dict that holds its state dict under "state_dict", "model_state_dict" or "model", or only one, is unwrapped.

    Raises:
        MagNetError: the file is missing, truncated or corrupt, or holds something else than a state dict.
        TypeError: ``path`` is none.
    """
    if check_path("path", path).suffix == ".safetensors":
        return load_safetensors(path)[0]
    try:
        check_file(path, "weights")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise MagNetError(
                        f"weights: '{path}' is a TorchScript program, not a state dict; save one with "
                        "torch.save(torch.jit.load(path).state_dict(), other_path)"
                    )
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
        raise unreadable(path, error) from error
    except (MagNetError, MemoryError):
        raise
    except Exception as error:  # whatever is raised on the way, the file is what it came from
        raise unreadable(path, error) from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    inside = [name for name, value in content.items() if _is_state(value)] if isinstance(content, Mapping) else []
    if len(inside) == 1:  # under a name of the training program's own
        content = content[inside[0]]
    elif inside:
        raise MagNetError(
            f"weights: '{path}' holds several state dicts ({listed([str(name) for name in inside])}); save the one "
            "that is meant as a file of its own"
        )
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise MagNetError(
            f"weights: '{path}' should hold a state dict (names to tensors), but holds a {type(content).__name__}"
            + (" with other values" if isinstance(content, Mapping) else "")
            + "; save one with torch.save(model.state_dict(), path)"
        )
    return {str(key): value for key, value in content.items()}


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, Tensor) for one in value.values())


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
    return listed(sorted(name for name in printable if not name.startswith(_HARMLESS)))


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
