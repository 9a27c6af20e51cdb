"""Locks on folders, which end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from magnet.errors import MagNetError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "folder_lock", "lock_descriptor"]

LOCK = ".magnet.lock"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # what a link points to is not ours to write
_held: set[int] = set()
_warned = False


def _close_all() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)  # or workers would hold the lock of a process that was killed


@contextlib.contextmanager
def lock_descriptor(descriptor: int) -> Iterator[bool | None]:
    """Lock an open file or folder without waiting, and close it at the end.

    Yields:
        True: it is locked; False: another process has it; None: there are no locks here (some network file systems).
    """
    owner = os.getpid()
    _held.add(descriptor)
    try:
        yield _try_lock(descriptor)
    finally:
        if os.getpid() == owner:  # a forked child has closed its own
            _held.discard(descriptor)
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def folder_lock(folder: Path, argument: str = "--out") -> Iterator[None]:
    """Keep other processes of this library from writing into ``folder``, which exists.

    Where the file system has no locks it warns once and goes on.

    Raises:
        MagNetError: another process holds the folder; the message says which one.
    """
    path, owner = folder / LOCK, os.getpid()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
        with lock_descriptor(descriptor) as locked:
            if locked is False:
                raise MagNetError(
                    f"{argument}: '{folder}' is being written to by {_holder(descriptor)}; wait until it has ended, or "
                    "choose another folder"
                )
            if not _is_at(descriptor, path):
                continue  # its last holder removed the file while we opened it
            if locked is None:
                _warn(folder)
            with contextlib.suppress(OSError):  # only a help to others: a full disk shows at the first result
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _about_us(), 0)
            try:
                yield
            finally:
                if os.getpid() == owner:
                    path.unlink(missing_ok=True)  # before it is unlocked: nobody else can have taken it
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _about_us() -> bytes:
    program, *words = sys.argv or ["python"]
    name = Path(program).name
    command = shlex.join(["magnet" if name == "__main__.py" else name, *words])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command[:200]}
    return json.dumps(about).encode()


def _holder(descriptor: int) -> str:
    """The process that wrote the lock file, in words."""
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun
        return "another process"


def _warn(folder: Path) -> None:
    global _warned
    if not _warned:
        _warned = True
        print(
            f"magnet: warning: the file system of '{folder}' has no locks, so that two commands which write there at "
            "the same time are not kept apart",
            file=sys.stderr,
        )
