"""Builds the CUDA operators (csrc/cuda) for the CPU, on the host model of tests/cuda_host/include.

`python tests/cuda_host/build.py` builds everything into build/cuda_host; what has not changed is kept.
`python tests/cuda_host/build.py confidence score` builds only confidence.* and score.*, and so do tests where
MAGNET_CUDA_HOST_ONLY="confidence score", for when another operator does not compile yet. The same .cu
files that nvcc compiles are compiled by the C++ compiler, the .cpp files against the torch of this environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUTPUT = ROOT / "build" / "cuda_host"
COMPILERS_AT_ONCE = 2
CXX_FLAGS = [
    "-std=c++20",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-Wall",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-sign-compare",
    "-fmax-errors=20",
    "-DMAGNET_EMULATED",
    "-DTORCH_TARGET_VERSION=0x020b000000000000",
]


class NoCompiler(RuntimeError):
    """There is no C++ compiler."""


class BuildError(RuntimeError):
    """The compiler or the linker reported an error, which is the message."""


def compiler() -> list[str]:
    command = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if not command:
        raise NoCompiler("the host model needs a C++ compiler (g++ 11 or newer)")
    return command.split()


def build(output: Path = OUTPUT, stems: Sequence[str] = ()) -> Path:
    """The library of all CUDA operators (or of some) on the host model, for torch.ops.load_library."""
    stems = stems or os.environ.get("MAGNET_CUDA_HOST_ONLY", "").split()
    from torch.utils.cpp_extension import include_paths, library_paths

    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), *sorted((ROOT / "csrc/cuda").glob("*.cpp"))]
    if stems:
        sources = [source for source in sources if source.stem in stems]
    return _library(
        "_".join(["magnet_kernels_cuda_host", *stems]),
        sources,
        output,
        [f"-isystem{path}" for path in include_paths()],
        [
            *(flag for path in library_paths() for flag in (f"-L{path}", f"-Wl,-rpath,{path}")),
            "-Wl,--no-as-needed",
            *("-lc10", "-ltorch", "-ltorch_cpu"),
        ],
    )


def build_self_test(output: Path = OUTPUT) -> Path:
    """The library of the kernels that test the host model itself; needs no torch."""
    return _library("self_test", sorted((HERE / "self_test").glob("*.cu")), output, [], [])


def _library(name: str, sources: Sequence[Path], output: Path, includes: list[str], libraries: list[str]) -> Path:
    command = [*compiler(), *CXX_FLAGS, f"-I{HERE / 'include'}", f"-I{ROOT / 'csrc'}", *includes]
    version = _run([*compiler(), "--version"])
    objects = output / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(COMPILERS_AT_ONCE) as pool:
        built = list(pool.map(lambda source: _object(source, objects, command, version), sources))
    library = output / f"lib{name}.so"
    link = [*compiler(), "-shared", *(str(path) for path, _ in built), "-Wl,-z,defs", *libraries]
    key = _hash(*link, version, *(key for _, key in built))
    record = objects / f"{library.name}.key"
    with _locked(objects / f"{library.name}.lock"):
        if not (library.exists() and record.exists() and record.read_text() == key):
            record.unlink(missing_ok=True)
            temporary = objects / library.name
            _run([*link, "-o", str(temporary)])
            os.replace(temporary, library)  # who has loaded the old one keeps it
            record.write_text(key)
    return library


def _object(source: Path, folder: Path, command: list[str], version: str) -> tuple[Path, str]:
    """The object file of a source and what identifies its content; compiled where that has changed."""
    target = folder / f"{source.parent.name}-{source.name}.o"
    dependencies, record = target.with_suffix(".d"), target.with_suffix(".key")
    compile_ = [*command, *(["-x", "c++"] if source.suffix == ".cu" else []), "-c", str(source)]

    def included() -> list[Path]:
        """The source and what it includes, but for the system's and torch's headers."""
        rule = dependencies.read_text().replace("\\\n", " ").split(": ", 1)[1].strip()
        return sorted({Path(name.replace("\\ ", " ")) for name in re.split(r"(?<!\\)\s+", rule)})

    def key() -> str | None:
        """None where a file that was included is gone."""
        try:
            return _hash(*compile_, version, *(f"{path}\0{path.read_text(encoding='utf-8')}" for path in included()))
        except OSError:
            return None

    with _locked(target.with_suffix(".lock")):
        if target.exists() and record.exists() and dependencies.exists():
            now = key()
            if now is not None and record.read_text() == now:
                return target, now
        record.unlink(missing_ok=True)
        temporary = target.with_suffix(".new")
        start = time.time()
        _run([*compile_, "-MMD", "-MF", str(dependencies), "-o", str(temporary)])
        os.replace(temporary, target)
        now = key()
        if now is None:
            raise BuildError(f"{source}: a file that it includes has gone while it was compiled")
        if all(path.stat().st_mtime < start for path in included()):  # else edited meanwhile: compile again next time
            record.write_text(now)
        return target, now


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    start = time.perf_counter()
    try:
        paths = [build_self_test(), build(stems=sys.argv[1:])]
    except (NoCompiler, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in paths:
        print(path.relative_to(ROOT))
    print(f"{time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
