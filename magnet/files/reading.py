"""What is looked at before a file of the user is read: that it is an ordinary one, and that it fits into memory."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError, shown

__all__ = ["check_file", "check_path", "parse_json", "read_bytes", "read_json", "read_text", "sha256"]

_MOST = 1 << 24  # bytes of a text: a configuration has thousands


def check_path(argument: str, value: Any) -> Path:
    """A path, which need not be there.

    Raises:
        TypeError: it is none.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{argument}: expected a path, got {shown(value)}; give a str or a pathlib.Path")
    return Path(path)


def check_file(path: str | os.PathLike[str], argument: str, wanted: str = "a file") -> Path:
    """``path``, an ordinary file or a link to one. To open a pipe or a device may wait for ever.

    Args:
        path: the file.
        argument: what the message starts with.
        wanted: what it says was expected.

    Raises:
        OSError: there is none, or it may not be looked at.
        ValueError: what no path can be, as a text with a NUL.
        MagNetError: it is a folder, a pipe, a device or a socket.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return Path(path)
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    fix = "check the path" if stat.S_ISDIR(mode) else "copy what comes from it to a file"
    raise MagNetError(f"{argument}: expected {wanted}, but '{path}' is {kind}; {fix}")


def read_bytes(path: str | os.PathLike[str], argument: str, wanted: str = "a file", *, at_most: int = _MOST) -> bytes:
    """The content of a file of ``at_most`` bytes, which is 16 MiB unless told.

    Raises:
        OSError, ValueError: it cannot be read.
        MagNetError: it is no ordinary file (see :func:`check_file`), or larger.
    """
    with check_file(path, argument, wanted).open("rb") as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        most = f"{at_most >> 20} MiB" if at_most >= 1 << 20 else f"{at_most >> 10} KiB"
        raise MagNetError(f"{argument}: expected {wanted} of at most {most}, but '{path}' is larger; check the path")
    return content


def read_text(path: str | os.PathLike[str], argument: str, wanted: str = "a file") -> str:
    """The text of a small UTF-8 file, without a byte order mark.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
        MagNetError: as :func:`read_bytes`.
    """
    return read_bytes(path, argument, wanted).decode("utf-8-sig")


def read_json(path: str | os.PathLike[str], argument: str) -> Any:
    """What a small JSON file holds.

    Raises:
        OSError, ValueError: it cannot be read, or is no JSON, or nested without an end.
        MagNetError: as :func:`read_text`.
    """
    return parse_json(read_text(path, argument))


def parse_json(text: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON text holds, each object as ``object_hook`` makes it.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
