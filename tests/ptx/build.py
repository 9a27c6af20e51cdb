"""Compiles what the emulator needs into build/ptx: each file again only where its sources or its command have changed.

Several processes may build at once; what one of them has loaded stays whole when another replaces it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUTPUT = ROOT / "build" / "ptx"
# Floats must do what the sources say, to the bit; integers wrap. -march=native makes the engine no faster.
ENGINE_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-fwrapv", "-ffp-contract=off", "-frounding-math"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-Wno-bool-compare", "-Wno-type-limits"]


class NoCompiler(RuntimeError):
    """There is no C++ compiler."""


class BuildError(RuntimeError):
    """A compiler or linker reported an error, which is the message."""


def compiler() -> list[str]:
    """The C++ compiler: $CXX, or what is on the path."""
    command = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if not command:
        raise NoCompiler("the PTX emulator needs a C++ compiler (g++ 11 or newer)")
    return command.split()


def made(
    target: Path, sources: Iterable[Path], command: Callable[[Path], Sequence[str]], keep: Sequence[str] = ()
) -> Path:
    """``target``, made by ``command(path)`` unless it was made so from the same ``sources`` before.

    ``command`` gets the path to write to: a temporary one beside ``target``, a folder where ``target`` has no suffix.
    Of a folder's files only those whose suffix is in ``keep`` stay, if any is given.
    The first word of the command is asked for its ``--version``, so that another compiler compiles anew.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, record = (target.with_name(target.name + end) for end in (".new", ".key"))
    words = [str(word) for word in command(temporary)]
    key = _hash(words, _version(words[0]), *map(_content, sorted(sources)))
    with locked(target.with_name(target.name + ".lock")):
        if target.exists() and record.exists() and record.read_text() == key:
            return target
        record.unlink(missing_ok=True)
        if not target.suffix:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        _run(words)
        if not target.suffix:
            for path in temporary.iterdir() if keep else ():
                if path.suffix not in keep:
                    path.unlink()
            shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        record.write_text(key)
    return target


def engine() -> Path:
    """The library of the engine."""
    folder = HERE / "engine"
    headers = sorted(folder.glob("*.h"))

    def object_(source: Path) -> Path:
        command = [*compiler(), *ENGINE_FLAGS, *WARNINGS, "-c", str(source), "-o"]
        return made(OUTPUT / "engine" / f"{source.stem}.o", [source, *headers], lambda path: [*command, str(path)])

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(object_, sorted(folder.glob("*.cpp"))))
    link = [*compiler(), "-shared", *map(str, objects), "-o"]
    return made(OUTPUT / "libemulator.so", objects, lambda path: [*link, str(path)])


@functools.cache
def _version(program: str) -> str:
    return _run([program, "--version"])


def _content(path: Path) -> str:
    return f"{path}\0{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _run(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def _hash(words: Sequence[str], *parts: str) -> str:
    return hashlib.sha256("\0".join([*words, *parts]).encode()).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
