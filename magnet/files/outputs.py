"""What a command may write: its own results again, and nothing else that is there already.

A folder of results holds a record, one JSON object a line: each result, the command that wrote it and from what, its
size and its time. So the same command can be given again, and a file of somebody else, one of another input, or a
result that was edited since is an error unless ``--overwrite`` is given.

Parts of one job write into a folder at the same time, maybe on several machines: each has a record of its own, as
appending is not safe between machines, and all of them are read.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from magnet.errors import ArgumentError, MagNetError
from magnet.files.atomic import atomic_path, check_output_dir, errors_name, no_empty_folders, remove_leftovers
from magnet.files.locks import folder_lock
from magnet.files.parts import Part, file_of, files_of, part_lock
from magnet.files.reading import check_path

__all__ = ["OVERWRITE_HELP", "RECORD", "Outputs", "check_json_target", "check_targets", "results_in"]

RECORD = file_of(".magnet")
OVERWRITE_HELP = "replace files that are there already and are not this command's own results"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_SECONDS = 2  # some file systems keep times no finer
_NAMED = 3


class Outputs:
    """A folder that a command writes results into: locked while it is entered, with its record.

    Folders that it made and that got no result are removed at the end, but not by one of several parts of a job.

    Args:
        folder: made if it is not there.
        command: as "magnet predict"; results of other commands are not its own.
        overwrite: replace files that are not the command's own results.
        argument: what names the folder in errors.
        inside: folders below it that get results, too.
        job: what decides the results beside their source, as the hash of the options; is recorded with them.
        part: which part of a job this process does: the other parts may write into the folder at the same time.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        command: str,
        *,
        overwrite: bool = False,
        argument: str = "--out",
        inside: Iterable[str] = (),
        job: str = "",
        part: Part | None = None,
    ) -> None:
        self.folder, self._command = check_path(argument, folder), command
        self._overwrite, self._argument = overwrite, argument
        self._inside = [self.folder / name for name in inside]
        self._job, self._part = job, part
        self._record_path = self.folder / file_of(".magnet", part)
        self._record: dict[str, list[dict[str, Any]]] = {}
        self._root, self._places = self.folder, dict[Path, Path]()
        self._stack = contextlib.ExitStack()
        self._descriptor: int | None = None
        self._whole = True  # whether the record ends with a whole line

    def __enter__(self) -> Outputs:
        part = self._part
        with contextlib.ExitStack() as stack:
            if part is None:  # another part may be about to write there
                stack.enter_context(no_empty_folders(self.folder, *self._inside))
            check_output_dir(self.folder, self._argument)
            lock = part_lock(self.folder, part, self._argument) if part else folder_lock(self.folder, self._argument)
            stack.enter_context(lock)
            for folder in (self.folder, *self._inside):
                self._check_inside(folder)
                check_output_dir(folder, self._argument)
                if part is None:  # a folder that another part has made a moment ago is not locked yet
                    remove_leftovers(folder)
            self._root, self._places = self.folder.resolve(), {}
            self._read()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def check(
        self,
        targets: Iterable[tuple[Path, str]],
        inputs: Iterable[Path] = (),
        beside: Iterable[tuple[Path, str]] = (),
    ) -> None:
        """Refuse, before any work, to write what would replace something else.

        Args:
            targets: each path in the folder that is going to be written, and what its content is made from.
            inputs: files that are read.
            beside: what other parts of the job write there, maybe at this moment, or what is no result.

        Raises:
            MagNetError: two results have the same path; a result would replace an input; an input is a result of this
                command; without ``overwrite``, a path is taken by what is not this command's result from that source.
        """
        wanted, read = list(targets), list(inputs)
        check_targets([*wanted, *beside], read, self._argument)
        for path in read:
            name = self._name(path)
            if name is not None and self._is_result(name, path):
                raise MagNetError(
                    f"{self._argument}: '{path}' is a result of an earlier '{self._command}' into the same folder, and "
                    "is now among its inputs; choose another folder for the results, or leave it out of the inputs"
                )
        self._refuse([(path, why) for path, source in wanted if (why := self.foreign(path, source))])

    def foreign(self, path: Path, source: str | None) -> str:
        """Why a path is not this command's to write, or ""; with ``source`` None a result from any source is."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return ""
        if stat.S_ISDIR(status.st_mode):
            return "is a folder"
        if self._overwrite:
            return ""
        known = self._record.get(self._name(path) or "", [])
        own = [entry for entry in known if _fits(entry, status)]
        if not own:
            return f"was changed since '{self._command}' wrote it" if known else f"is not a result of '{self._command}'"
        if source is not None and all(entry.get("source") != source for entry in own):
            return f"was made from {own[-1].get('source')}"
        return ""

    def holds(self, path: Path, source: str) -> bool:
        """Whether a file is the result of this command from that source in this very job, and unchanged since."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        own = [entry for entry in self._record.get(self._name(path) or "", []) if _fits(entry, status)]
        return bool(own) and own[-1].get("source") == source and own[-1].get("job", "") == self._job

    @contextlib.contextmanager
    def write(self, path: Path, source: str) -> Iterator[Path]:
        """As ``atomic_path``, recorded; refuses what :meth:`check` refuses, as the file may have come since."""
        if why := self.foreign(path, source):
            self._refuse([(path, why)])
        with atomic_path(path) as temporary:
            yield temporary
            self._note(path, source, temporary)

    def _check_inside(self, folder: Path) -> None:
        if not folder.resolve().is_relative_to(self.folder.resolve()):
            raise ArgumentError(
                f"{self._argument}: expected folders for the results inside '{self.folder}', but '{folder}' is a link "
                "that leads out of it; remove the link, or choose another folder"
            )

    def _refuse(self, foreign: list[tuple[Path, str]]) -> None:
        if not foreign:
            return
        path, why = foreign[0]
        more = f" (and so are {len(foreign) - 1} more of the files to write)" if len(foreign) > 1 else ""
        mend = "choose another folder"
        if why != "is a folder":
            mend += ", or give --overwrite (in Python overwrite=True) to replace what is there"
        raise MagNetError(f"{self._argument}: '{path}' is there already, and {why}{more}; {mend}")

    # the record

    def _name(self, path: Path) -> str | None:
        """The path within the folder, as the record has it; None for one that is not in it."""
        with contextlib.suppress(ValueError):
            return str(_place(path, self._places).relative_to(self._root))
        return None

    def _is_result(self, name: str, path: Path) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return any(_fits(entry, status) for entry in self._record.get(name, []))

    def _read(self) -> None:
        self._record, self._whole = {}, True
        for path in files_of(self.folder, ".magnet"):
            with errors_name(path):
                text = path.read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines()
            for name, entries in self._entries(lines).items():
                if own := [entry for entry in entries if entry.get("command") == self._command]:
                    self._record.setdefault(name, []).extend(own)
            if path == self._record_path:
                self._whole = not text or text.endswith("\n")
                self._shorten(path, lines)

    @staticmethod
    def _entries(lines: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a process that was killed
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                    found.setdefault(entry["file"], []).append(entry)
        return found

    def _shorten(self, path: Path, lines: list[str]) -> None:
        """Keep one line a file, once that leaves out the most of it: that of the file as it is now, or the last."""
        kept: dict[str, str] = {}
        for name, entries in self._entries(lines).items():
            now = [entry for entry in entries if self._is_now(entry)]
            kept[name] = json.dumps((now or entries)[-1])
        if len(lines) > 4 * len(kept) + 100:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept.values()), encoding="ascii")
            self._whole = True

    def _is_now(self, entry: Mapping[str, Any]) -> bool:
        try:
            return _fits(entry, os.lstat(self.folder / entry["file"]))
        except (OSError, ValueError):
            return False

    def _note(self, path: Path, source: str, temporary: Path) -> None:
        """Add a line for a result that is about to be moved to its place: killed after that, it is known as ours."""
        name = self._name(path)
        assert name is not None, path
        status = temporary.stat()
        entry = {
            "file": name,
            "command": self._command,
            "source": source,
            "size": status.st_size,
            "time": status.st_mtime,
            **({"job": self._job} if self._job else {}),
        }
        record = self._record_path
        line = ("" if self._whole else "\n") + json.dumps(entry) + "\n"
        with errors_name(record):
            descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                self._whole = False
                file.write(line.encode("ascii"))
        self._whole = True
        self._record.setdefault(name, []).append(entry)


def results_in(folder: Path) -> set[Path]:
    """Files of a folder that a command of ours wrote there, and nobody has changed since."""
    found = set()
    lines: list[str] = []
    for record in files_of(folder, ".magnet"):
        with errors_name(record):
            lines += record.read_text(encoding="utf-8", errors="replace").splitlines()
    for name, entries in Outputs._entries(lines).items():
        with contextlib.suppress(OSError, ValueError):
            status = os.lstat(folder / name)
            if any(_fits(entry, status) for entry in entries):
                found.add(folder / name)
    return found


def _place(path: Path, known: dict[Path, Path]) -> Path:
    """Where a path is, without following a link that it is itself: writing replaces the link.

    ``known`` keeps where folders are, as a folder has many results.
    """
    parent = path.parent
    if parent not in known:
        known[parent] = parent.resolve()
    return known[parent] / path.name


def _fits(entry: Mapping[str, Any], status: os.stat_result) -> bool:
    try:
        apart = abs(float(entry["time"]) - status.st_mtime)
        same_time = apart == 0 or (apart < _SECONDS and status.st_mtime.is_integer())
        return bool(stat.S_ISREG(status.st_mode) and entry["size"] == status.st_size and same_time)
    except (KeyError, TypeError, ValueError):
        return False


def check_targets(targets: Iterable[tuple[Path, str]], inputs: Iterable[Path], argument: str) -> None:
    """Raise ArgumentError where two results have the same path, or one would replace an input."""
    read: dict[Path, Path] = {}
    folders: dict[Path, Path] = {}
    for path in inputs:
        read[path.resolve()] = read[_place(path, folders)] = path
    seen: dict[Path, str] = {}
    for path, source in targets:
        place = _place(path, folders)
        if place in read:
            raise ArgumentError(
                f"{argument}: the result '{path}' would replace the input '{read[place]}'; choose another place for it"
            )
        if place in seen:
            raise ArgumentError(
                f"{argument}: the results of {seen[place]} and of {source} would both be '{path}'; write them into two "
                "folders"
            )
        seen[place] = source


def _is_json(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        json.loads(path.read_text(encoding="utf-8"))
        return True
    return False


def check_json_target(
    path: Path,
    argument: str,
    is_same: Callable[[Any], bool],
    *,
    what: str,
    overwrite: bool,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse to replace a file that is not the same command's JSON, before any work.

    Args:
        path: the file to write; its folder is made, and proved to be writable.
        argument: what names it in errors.
        is_same: whether content read from JSON is of the same command with the same input; may raise what comes from
            content of another kind.
        what: what is written there, for the message.
        overwrite: replace any JSON file but inputs.
        inputs: files that are read.

    Raises:
        ArgumentError: there is a folder, or an input.
        MagNetError: without ``overwrite``, there is something else; with it, no JSON file.
    """
    check_targets([(path, what)], inputs, argument)
    if overwrite and path.is_file() and not path.is_symlink() and not _is_json(path):
        # a list, an image, a description: nothing that such a command wrote
        raise MagNetError(f"{argument}: '{path}' is there already, and is no JSON file; choose another name")
    remove_leftovers(check_output_dir(path.parent, argument), alone=False)
    if path.is_dir():
        raise ArgumentError(f"{argument}: expected a JSON file to write, but '{path}' is a folder; add a file name")
    if overwrite or not os.path.lexists(path):
        return
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        if path.is_file() and not path.is_symlink() and is_same(json.loads(path.read_text(encoding="utf-8"))):
            return
    raise MagNetError(
        f"{argument}: '{path}' is there already, and is not {what} of the same input; choose another name, or give "
        "--overwrite (in Python overwrite=True) to replace what is there"
    )
