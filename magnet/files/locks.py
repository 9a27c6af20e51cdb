"""Locks on folders, which end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magnet.errors import MagNetError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "folder_lock", "holder", "lock_descriptor", "told_by"]

LOCK = ".magnet.lock"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # what a link points to is not ours to write
_PAUSE = 0.05  # seconds
_held: set[int] = set()
_warned = False


def _close_all() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)  # or workers would hold the lock of a process that was killed


@contextlib.contextmanager
def lock_descriptor(descriptor: int, *, shared: bool = False) -> Iterator[bool | None]:
    """Lock an open file or folder without waiting, and close it at the end.

    Args:
        descriptor: of the file or folder.
        shared: others may have it at the same time, if they share it too.

    Yields:
        True: it is locked; False: another process has it; None: there are no locks here (some network file systems).
    """
    owner = os.getpid()
    _held.add(descriptor)
    try:
        yield _try_lock(descriptor, shared=shared)
    finally:
        if os.getpid() == owner:  # a forked child has closed its own
            _held.discard(descriptor)
            os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool = False) -> bool | None:
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def folder_lock(
    folder: Path,
    argument: str = "--out",
    *,
    name: str = LOCK,
    shared: bool = False,
    wait: float = 0.0,
    about: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Keep other processes of this library from writing into ``folder``, which exists.

    Where the file system has no locks it warns once and goes on.

    Args:
        folder: to be written into.
        argument: what names it in errors.
        name: of the file that is locked.
        shared: others may write there at the same time, if they share it too.
        wait: seconds until it is an error that another has it: who shares it has it alone for a moment, at the end.
        about: what the file tells of this process beside its number, machine and command.

    Raises:
        MagNetError: another process holds the folder; the message says which one.
    """
    path, owner, deadline = folder / name, os.getpid(), time.monotonic() + wait
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
            with lock_descriptor(descriptor, shared=shared) as locked:
                if locked is False:
                    if time.monotonic() < deadline:
                        time.sleep(_PAUSE)
                        continue
                    raise MagNetError(
                        f"{argument}: '{folder}' is being written to by {holder(descriptor)}; wait until it has ended, "
                        "or choose another folder"
                    )
                if not _is_at(descriptor, path):
                    continue  # its last holder removed the file while we opened it
                try:
                    if locked is None:
                        _warn(folder)
                    _tell(descriptor, about or {})
                    yield
                finally:
                    # the last one to share it removes it, before it is unlocked: nobody else can have taken it
                    if os.getpid() == owner and not (shared and _try_lock(descriptor) is False):
                        path.unlink(missing_ok=True)
                return
    except BaseException:
        if os.getpid() == owner:
            _remove_unheld(path)  # an interrupt may come between any two steps of the above
        raise


def _tell(descriptor: int, about: Mapping[str, str]) -> None:
    """Write what the lock file tells of this process."""
    with contextlib.suppress(OSError):  # only a help to others: a full disk shows at the first result
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({**_about_us(), **about}).encode(), 0)
        os.fsync(descriptor)  # or other machines would not see it


def _remove_unheld(path: Path) -> None:
    """Remove a lock file that no process holds."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | _NO_FOLLOW)
        with lock_descriptor(descriptor) as locked:
            if locked and _is_at(descriptor, path):
                path.unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _about_us() -> dict[str, str | int]:
    program, *words = sys.argv or ["python"]
    name = Path(program).name
    command = shlex.join(["magnet" if name == "__main__.py" else name, *words])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command[:200]}


def told_by(descriptor: int) -> dict[str, Any]:
    """What a lock file tells of the process that holds it; nothing where that has only just begun."""
    with contextlib.suppress(OSError, ValueError):
        about = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(about, dict):
            return about
    return {}


def holder(descriptor: int) -> str:
    """The process that wrote the lock file, in words."""
    about = told_by(descriptor)
    try:
        return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
    except KeyError:  # it has only just begun
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
