"""nvcc: where it is, for which GPUs it compiles, and csrc/cuda/*.cu through it. For setup.py and tests.

No .cu file includes a torch header, so nvcc needs nothing of torch and any CUDA 12 or 13 serves any torch build: the
runtime is linked statically, and the driver is shared through the primary context.
"""

from __future__ import annotations

import bisect
import functools
import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "nvcc"
FLAGS = ["-O3", "-std=c++20", "-fmad=false", "--expt-relaxed-constexpr", "-I", str(ROOT / "csrc")]
ARCHITECTURES = "8.0;8.6;8.9;9.0;10.0+PTX;12.0"  # every NVIDIA GPU from A100 on; PTX for those between and later
# From each of these to the next PTX is compiled once, and machine code from it for each architecture, the same as by
# PTX of its own and in less time: the sources differ from 9.0 on (device.cuh), what nvcc makes of them from 10.0 on.
PTX_FROM = (80, 90, 100)
OLDEST = 8.0


class NvccError(Exception):
    """nvcc is not there, or could not compile; says why."""


@functools.cache
def find() -> Path:
    """The nvcc of CUDA_HOME, the path, the usual folder or PyPI's packages."""
    places = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which("nvcc")
    places += [Path(on_path).parent.parent] if on_path else []
    places += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    places += sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("cu1*"), reverse=True)
    for place in places:
        nvcc = place / "bin" / "nvcc"
        if nvcc.is_file():
            return nvcc
    raise NvccError("nvcc was not found (install the CUDA toolkit 12.8 or newer, or set CUDA_HOME)")


def toolkit() -> Path:
    """The folder with include/ and lib/, which need not be the one above nvcc."""
    command = [str(find()), "--dryrun", "-x", "cu", os.devnull]
    for line in subprocess.run(command, capture_output=True, text=True).stderr.splitlines():
        if match := re.match(r"#\$ TOP=(.*)", line):
            return Path(match[1].strip()).resolve()
    return find().parent.parent


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        words = (result.stderr + result.stdout).strip()
        raise NvccError(f"{' '.join(command)}\n{words}")
    return result.stdout + result.stderr


@functools.cache
def known_architectures() -> frozenset[str]:
    """Numbers such as "90" that this nvcc makes machine code for."""
    return frozenset(re.findall(r"sm_(\d+)", _run([str(find()), "--list-gpu-code"])))


def all_architectures() -> list[str]:
    """Those of ARCHITECTURES that this nvcc knows, whatever TORCH_CUDA_ARCH_LIST asks for."""
    return [word for word in ARCHITECTURES.split(";") if number(word) in known_architectures()]


def architectures() -> list[str]:
    """What TORCH_CUDA_ARCH_LIST (else the full list) asks for and this nvcc knows, as in ["8.0", "9.0+PTX"]."""
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST") or ""
    words = [word for word in re.split(r"[;,\s]+", asked or ARCHITECTURES) if word]
    for word in words:
        match = re.fullmatch(r"(\d+\.\d)[af]?(\+PTX)?", word)
        if match is None or float(match[1]) < OLDEST:
            raise NvccError(
                f"TORCH_CUDA_ARCH_LIST: expected numbers from {OLDEST} on, as in '8.0;9.0+PTX', got {asked!r}"
            )
    known = [word for word in words if number(word) in known_architectures()]
    if not known:
        raise NvccError(f"nvcc at {find()} knows none of {'; '.join(words)}")
    return known


def number(architecture: str) -> str:
    """ "9.0+PTX" -> "90" """
    return re.sub(r"\D", "", architecture)


def target_flags(wanted: list[str]) -> list[str]:
    """nvcc's arguments for architectures such as ["8.0", "9.0+PTX"]."""
    groups: dict[int, list[str]] = {}
    for word in wanted:
        groups.setdefault(bisect.bisect(PTX_FROM, int(number(word))), []).append(word)
    flags = []
    for words in groups.values():
        ptx = f"compute_{min(map(int, map(number, words)))}"
        codes = [f"sm_{number(word)}" for word in words]
        codes += [ptx] if any(word.endswith("+PTX") for word in words) else []
        flags.append(f"-gencode=arch={ptx},code=[{','.join(codes)}]")
    majors = {int(number(word)) // 10 for word in wanted}
    return [*flags, f"-DMAGNET_MAJORS={sum(1 << major for major in majors)}"]  # see device.cuh


class Compiled(NamedTuple):
    """One .cu file, compiled for all architectures."""

    source: Path
    object: Path
    ptx: Path  # folder of STEM.compute_80.ptx and so on
    report: str  # the compiler's, of registers and memory


def compile_objects(sources: list[Path], wanted: list[str], folder: Path = FOLDER) -> list[Compiled]:
    """Compile ``sources`` for the architectures ``wanted`` ("9.0", "9.0+PTX"), as many at a time as there are cores.

    A file is compiled again only where something it includes, or the command, has changed.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> Compiled:
        target, needs, done, report = (folder / f"{source.stem}{end}" for end in (".o", ".d", ".command", ".report"))
        command = [str(find()), "-c", str(source.resolve()), "-o", str(target), *FLAGS, *target_flags(wanted)]
        command += ["--resource-usage", "-Xfatbin=-compress-all", "-Xcompiler=-fPIC,-fvisibility=hidden"]
        command += ["-MD", "-MF", str(needs)]
        ptx = folder / source.stem
        command += ["--keep", "--keep-dir", str(ptx)]
        if not _is_new(target, needs, done, command):
            done.unlink(missing_ok=True)
            shutil.rmtree(ptx, ignore_errors=True)
            ptx.mkdir()
            report.write_text(_run(command))
            for path in ptx.iterdir():
                if path.suffix != ".ptx":
                    path.unlink()
            done.write_text(" ".join(command))
        return Compiled(source, target, ptx, report.read_text())

    workers = min(len(sources), int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) or 1
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compile_one, sources))


def _is_new(target: Path, needs: Path, done: Path, command: list[str]) -> bool:
    try:
        if done.read_text() != " ".join(command):
            return False
        files = needs.read_text().replace("\\\n", " ").split(":", 1)[1].split()
        return all(Path(file).stat().st_mtime <= target.stat().st_mtime for file in files)
    except (OSError, IndexError):
        return False
