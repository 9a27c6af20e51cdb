"""A build carried to a GPU machine: what it was made of, whether it fits there, and putting it in its place.

benchmarks/gpu_prebuild.sh makes the folder build/gpu_prebuilt/, benchmarks/gpu_check.sh uses it:

    manifest.json                what it was made of: commit, digest of the sources, torch, Python, architecture, Triton
    magnet_kernels/_*.so, ...    go into magnet_kernels/ of the tree, where the loader looks
    libcub_topk.so               CUB's selection, a rival; stays here (gpu/cub_topk.py)
    triton/                      Triton's compiled kernels; go to where TRITON_CACHE_DIR points

``python -m gpu.prebuilt use FOLDER [TRITON_CACHE_DIR]`` says in one line what was put in place, or why it does not fit
(exit code 1).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu import triton_cache
from gpu.commits import abbreviated

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "gpu_prebuilt"
MANIFEST = "manifest.json"
LIBRARIES = ("_cpu", "_cuda", "_host")
MOST_BYTES = 60 * 2**20  # beside the tree itself, in what a lent machine takes along


def sources(root: Path) -> list[Path]:
    """What the libraries are compiled from."""
    return [root / "setup.py", *sorted(path for path in (root / "csrc").rglob("*") if is_source(path))]


def is_source(path: Path) -> bool:
    return path.suffix in (".h", ".cuh", ".cu", ".cpp", ".py")


def digest(root: Path) -> str:
    """Of the names and contents of the sources: the same tree, whatever its commit is called."""
    total = hashlib.sha256()
    for path in sources(root):
        total.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def mirror(names: Iterable[str], root: Path, tree: Path) -> None:
    """Make ``tree`` hold these files of ``root``; those that are the same keep their times: builds stay short."""
    wanted = set(names)
    for name in wanted:
        source, target = root / name, tree / name
        if not source.is_file() or (target.is_file() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for path in [path for path in tree.rglob("*") if is_source(path) and "build" not in path.relative_to(tree).parts]:
        if str(path.relative_to(tree)) not in wanted or not (root / path.relative_to(tree)).is_file():
            path.unlink()


# --- what it was made of


def version_of(name: str) -> str:
    try:
        return str(__import__(name).__version__)
    except ImportError:
        return "not there"


def write_manifest(folder: Path, root: Path, architecture: str, nvcc: str) -> dict[str, Any]:
    from gpu.environment import commit

    content = {
        "commit": commit(),
        "sources": digest(root),
        "torch": version_of("torch"),
        "python": python_version(),
        "machine": platform.machine(),
        "architecture": architecture,
        "nvcc": nvcc,
        "triton": version_of("triton"),
        "triton_kernels": triton_cache.count(folder / "triton"),
        "cub": (folder / "libcub_topk.so").exists(),
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")
    return content


def python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


# --- whether it fits


def why_not(folder: Path, root: Path, torch: str, capability: tuple[int, int]) -> str | None:
    """None where the libraries of ``folder`` run here, else the reason."""
    try:
        made = json.loads((folder / MANIFEST).read_text())
        commit, architecture, major = made["commit"], made["architecture"], int(made["architecture"].split(".")[0])
        minor, built_torch, python, machine = (
            int(architecture.split(".")[1]),
            made["torch"],
            made["python"],
            made["machine"],
        )
        digest_there = made["sources"]
    except FileNotFoundError:
        return f"there is none ({folder / MANIFEST} is missing); benchmarks/gpu_prebuild.sh makes one"
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read: {type(error).__name__}: {error}"
    if machine != platform.machine():
        return f"it was made for {machine}, and this is {platform.machine()}"
    if digest_there != digest(root):
        return f"it was made of other sources (commit {commit})"
    if release(torch) < release(built_torch):
        return f"it was made against torch {built_torch}, and this is the older {torch}"
    if python != python_version():
        return f"it was made for Python {python}, and this is {python_version()}"
    if major != capability[0] or minor > capability[1]:
        return f"it was made for compute capability {architecture}, and this GPU has {capability[0]}.{capability[1]}"
    missing = [stem for stem in LIBRARIES if not list((folder / "magnet_kernels").glob(f"{stem}.*"))]
    return f"it lacks {', '.join(missing)}" if missing else None


def release(version: str) -> tuple[int, ...]:
    """ "2.11.0+cu130" -> (2, 11, 0)"""
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in version.split("+")[0].split(".")[:3])


# --- putting it in its place


def use(folder: Path, root: Path, triton_folder: Path | None = None) -> str:
    """Copy libraries and Triton's kernels to where they are looked for; says what."""
    target = root / "magnet_kernels"
    for path in sorted((folder / "magnet_kernels").iterdir()):
        if path.suffix == ".so":
            for old in target.glob(f"{path.name.split('.')[0]}.*so"):
                old.unlink()
        shutil.copy2(path, target / path.name)
    made = json.loads((folder / MANIFEST).read_text())
    commit = abbreviated(made["commit"])
    text = f"carried: commit {commit}, torch {made['torch']}, compute capability {made['architecture']}"
    if triton_folder is not None and (folder / "triton").is_dir():
        text += f", {triton_cache.unpack(folder / 'triton', triton_folder)} kernels of Triton {made['triton']}"
    return text


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.prebuilt", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    using = commands.add_parser("use", help="put a carried build in its place, if it fits")
    using.add_argument("folder", type=Path)
    using.add_argument("triton_folder", type=Path, nargs="?")
    mirroring = commands.add_parser("mirror", help="copy the files whose names are read, NUL between them, to TREE")
    mirroring.add_argument("tree", type=Path)
    packing = commands.add_parser("pack", help="collect a build into FOLDER")
    packing.add_argument("tree", type=Path)
    packing.add_argument("folder", type=Path)
    packing.add_argument("--architecture", required=True)
    packing.add_argument("--nvcc", default="")
    packing.add_argument("--triton-cache", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "mirror":
        mirror([name for name in sys.stdin.read().split("\0") if name], ROOT, chosen.tree)
        return 0
    if chosen.command == "pack":
        return pack(chosen)
    import torch

    reason = why_not(chosen.folder, ROOT, torch.__version__, torch.cuda.get_device_capability())
    if reason is not None:
        print(f"no carried build is used: {reason}")
        return 1
    print(use(chosen.folder, ROOT, chosen.triton_folder))
    return 0


def pack(chosen: argparse.Namespace) -> int:
    folder: Path = chosen.folder
    shutil.rmtree(folder / "magnet_kernels", ignore_errors=True)
    (folder / "magnet_kernels").mkdir(parents=True)
    built = chosen.tree / "magnet_kernels"
    for path in [*built.glob("*.so"), built / "_build_record.json"]:
        shutil.copy2(path, folder / "magnet_kernels" / path.name)
    if chosen.triton_cache is not None:
        triton_cache.pack(chosen.triton_cache, folder / "triton")
    made = write_manifest(folder, chosen.tree, chosen.architecture, chosen.nvcc)
    missing = [stem for stem in LIBRARIES if not list((folder / "magnet_kernels").glob(f"{stem}.*"))]
    total = size(folder)
    print(json.dumps(made, indent=1))
    print(f"{folder}: {total / 2**20:.1f} MiB" + (f"; MISSING: {', '.join(missing)}" if missing else ""))
    if total > MOST_BYTES:
        print(f"{folder}: more than {MOST_BYTES / 2**20:.0f} MiB, which a lent machine may not take along")
    return 1 if missing or total > MOST_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
