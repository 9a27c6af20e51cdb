"""What is looked at before a file of the user is read: that it is one, and that it fits into memory."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError

__all__ = ["check_file", "parse_json", "read_json", "read_text", "sha256"]

_MOST = 1 << 24  # bytes of a text: a configuration has thousands


def check_file(path: str | os.PathLike[str], argument: str) -> Path:
    """``path``, an ordinary file or a link to one. To read a pipe or a device may never end.

    Args:
        path: the file.
        argument: what the message starts with.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` raises them.
        MagNetError: it is a pipe, a device or a socket.
    """
    path = Path(path)
    path.stat()  # raises where there is nothing
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", os.fspath(path))
    if not path.is_file():
        raise MagNetError(
            f"{argument}: expected a file, but '{path}' is a pipe or a device; copy what comes from it to a file"
        )
    return path


def read_text(path: str | os.PathLike[str], argument: str) -> str:
    """The text of a small UTF-8 file.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
        MagNetError: it is no ordinary file, or larger than 16 MiB.
    """
    with check_file(path, argument).open("rb") as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise MagNetError(
            f"{argument}: expected a file of at most {_MOST >> 20} MiB, but '{path}' is larger; check the path"
        )
    return content.decode("utf-8")


def read_json(path: str | os.PathLike[str], argument: str) -> Any:
    """What a small JSON file holds.

    Raises:
        OSError, ValueError: it cannot be read, or is no JSON, or nested without an end.
        MagNetError: as :func:`read_text`.
    """
    return parse_json(read_text(path, argument))


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
