"""Writing results so that an interrupted run leaves no half file."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from magnet.errors import ArgumentError, MagNetError
from magnet.files.locks import lock_descriptor
from magnet.files.reading import check_path

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["atomic_path", "check_output_dir", "errors_name", "no_empty_folders", "remove_leftovers", "save_image"]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder beside ``path``; move it to ``path`` on success.

    The folder goes away in any case, with all that the writer put there: some writers make temporary files of their
    own beside the one that they were asked for. While it is written to it is locked, see :func:`remove_leftovers`.

    Raises:
        OSError: what was raised inside, with the name ``path``.
    """
    target = Path(path)
    # only named here, not made: an interrupt between making it and the try would leave it behind
    folder = target.with_name(f".{_shortened(target.stem)}.{secrets.token_hex(8)}")
    with errors_name(target, within=folder):
        try:
            folder.mkdir()
            with _in_use(folder):
                temporary = folder / target.name
                yield temporary
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(0o666 & ~umask)  # some writers make private files; results are ordinary ones
                temporary.replace(target)
        finally:
            try:
                shutil.rmtree(folder, ignore_errors=True)
            except BaseException:  # a signal came just now
                shutil.rmtree(folder, ignore_errors=True)
                raise


def _shortened(stem: str) -> str:
    """At most 32 bytes of a name, as some names are as long as the system lets them be."""
    return os.fsdecode(os.fsencode(stem)[:32])


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # as on Windows, where folders cannot be opened
        yield
        return
    with lock_descriptor(descriptor):
        yield


@contextlib.contextmanager
def errors_name(path: str | os.PathLike[str], within: Path | None = None) -> Iterator[None]:
    """Give an ``OSError`` of writing ``path`` its name: "No space left on device" alone does not say where.

    Errors that name a file keep it, unless it is ``within`` a folder, which is temporary.
    """
    try:
        yield
    except OSError as error:
        named = error.filename
        if isinstance(named, str | bytes) and not (within and Path(os.fsdecode(named)).is_relative_to(within)):
            raise
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def remove_leftovers(folder: str | os.PathLike[str], *, alone: bool = True) -> None:
    """Delete what killed processes left of files that ``atomic_path`` was making in ``folder``.

    What a living process writes is left alone.

    Args:
        folder: the folder.
        alone: the caller holds its lock; if not, nothing is deleted on file systems where the living cannot be told.
    """
    for path in Path(folder).glob(".*"):
        if re.fullmatch(r"\..{0,32}\.[0-9a-f]{16}", path.name, re.DOTALL) and path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError), lock_descriptor(os.open(path, os.O_RDONLY)) as locked:
                if locked or (locked is None and alone):
                    shutil.rmtree(path, ignore_errors=True)


def check_output_dir(path: str | os.PathLike[str], argument: str = "--out") -> Path:
    """Create the folder ``path`` and prove that files can be written there, before any work starts.

    Raises:
        ArgumentError: it is a file, or below one.
        MagNetError: the folder cannot be created or written to.
        TypeError: it is no path.
    """
    folder = check_path(argument, path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{secrets.token_hex(8)}"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        wrong = ArgumentError if isinstance(error, (FileExistsError, NotADirectoryError)) else MagNetError
        raise wrong(
            f"{argument}: expected a folder that can be written to, got '{folder}' ({reason}); choose another folder"
        ) from error
    return folder


@contextlib.contextmanager
def no_empty_folders(*folders: str | os.PathLike[str] | None) -> Iterator[None]:
    """Remove at the end those of ``folders``, and of the folders above them, that were made inside and hold nothing.

    So a command that failed leaves the place as it was. What was there before stays, and what holds anything; a file
    may stand for its folder, and None for nothing.
    """
    named = [Path(folder) for folder in folders if folder is not None]
    made = dict.fromkeys(path for one in named for path in (one, *one.parents) if not os.path.lexists(path))
    try:
        yield
    finally:
        for path in sorted(made, key=lambda one: len(one.parts), reverse=True):  # the innermost first
            with contextlib.suppress(OSError):
                path.rmdir()


def save_image(image: Image.Image, path: Path, **options: object) -> None:
    """As ``image.save(path, **options)``, but a disk that fills up is always an error.

    Pillow takes a last block that was written in part for a whole one, and the file is cut short without a word.
    """
    from PIL import Image

    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[path.suffix.lower()], **options)
    path.write_bytes(buffer.getbuffer())
