"""Triton's compiled kernels, made without a GPU, under the keys by which Triton looks them up on one.

``TRITON_CACHE_DIR=FOLDER PYTHONPATH=.:benchmarks python -m gpu.triton_cache [--architecture 90]`` compiles what the
telling cases and the benchmark cases launch. Triton's keys hold its own version and build (one for
each version of Python), ptxas, and the kernels' source; so it must run in a Python and a Triton like those of the GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

MULTIPROCESSORS = 132  # of an H100 or H200: some launches depend on it
MOST_MEMORY = 8 * 2**30  # of a case's inputs, which are never touched here
GROUP = "__grp__"  # what Triton puts before the name of a list of files, which holds their whole paths
KEPT = (".cubin", ".json", ".so")  # all that a launch reads; the rest is for people


# --- launches without a device


class NoDevice:
    """Stands in for Triton's driver of a GPU of this architecture: enough for compiling."""

    def __init__(self, architecture: int) -> None:
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", architecture, 32)

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Warmup:
    """Stands in for a kernel: a launch compiles it, and hands on what came of it."""

    def __init__(self, kernel: Any, compiled: Callable[[Any], None]) -> None:
        self.kernel, self.compiled = kernel, compiled

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *arguments, **options: self.compiled(self.kernel.warmup(*arguments, grid=grid, **options))


@contextlib.contextmanager
def compiling(architecture: int, compiled: Callable[[Any], None]) -> Iterator[None]:
    """Every launch of backend "triton" only compiles; tensors are on the CPU and stay as they are."""
    from triton.runtime.driver import driver

    from magnet_kernels import _backends
    from magnet_kernels.triton import implementations, launch

    original, run, surroundings = _backends._choose, launch._run, launch._surroundings

    def choose(operator: str, backend: str, *rest: Any) -> Callable[..., Any]:
        return implementations[operator] if backend == "triton" else original(operator, backend, *rest)

    driver.set_active(NoDevice(architecture))
    _backends._choose, launch.multiprocessors = choose, lambda device: MULTIPROCESSORS
    launch.run = lambda kernel, *rest: run(Warmup(kernel, compiled), *rest)
    launch._surroundings = lambda device: contextlib.nullcontext()
    try:
        yield
    finally:
        _backends._choose, launch.run, launch._surroundings = original, run, surroundings


def calls() -> Iterator[tuple[str, Callable[[], Any]]]:
    """What uses Triton on the GPU, by name, most important first."""
    import torch

    from gpu import inputs, parity
    from gpu.cases import Cases, all_cases

    inputs.logits = inputs.probabilities = lambda shape, *_: torch.empty(shape)  # memory that is never touched
    Cases.score = lambda self, shape, *_: torch.empty(shape[0], 1, *shape[2:])  # type: ignore[method-assign]

    def of_case(case: Any) -> Any:
        return case.ours("triton")(*case.make(0))

    def of_run(run: Any) -> Any:
        return run.function(**run.arguments, backend="triton")

    for run in parity.runs():
        yield f"parity: {run.operator} {run.what}", lambda run=run: of_run(run)
    for case in all_cases("cpu"):
        if case.memory <= MOST_MEMORY:
            yield f"case: {case.key}", lambda case=case: of_case(case)


# --- the launchers, which Triton compiles by the C compiler; up to 3.6 one for each list of arguments


@contextlib.contextmanager
def launchers() -> Iterator[Callable[[Any], None]]:
    """A function that compiles a kernel's launcher into the cache; it is linked with a stand-in of the driver."""
    from triton import knobs
    from triton.backends.nvidia import driver as nvidia
    from triton.runtime import build

    with tempfile.TemporaryDirectory() as folder:
        command = ["gcc", "-shared", "-x", "c", os.devnull, "-Wl,-soname,libcuda.so.1", "-o", f"{folder}/libcuda.so.1"]
        subprocess.run(command, check=True)
        knobs.nvidia.libcuda_path = folder
        load = build._load_module_from_path
        build._load_module_from_path = lambda *_: MagicMock()  # nothing that is linked with a driver loads here
        try:
            nvidia.CudaUtils()
            each = hasattr(nvidia, "make_launcher")  # later versions have one launcher for all kernels
            yield lambda kernel: nvidia.CudaLauncher(kernel.src, kernel.metadata) if each else None
        finally:
            build._load_module_from_path = load


# --- carrying a cache to another place


def pack(source: Path, target: Path) -> int:
    """Copy what launches read of the cache ``source``; returns how many kernels."""
    shutil.rmtree(target, ignore_errors=True)
    kernels = 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        kept = [path for path in folder.iterdir() if path.suffix in KEPT]
        kernels += any(path.suffix == ".cubin" for path in kept)
        if kept:
            (target / folder.name).mkdir(parents=True)
        for path in kept:
            shutil.copy2(path, target / folder.name / path.name)
    return kernels


def unpack(source: Path, target: Path) -> int:
    """Copy a packed cache to where TRITON_CACHE_DIR will point; returns how many kernels."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    kernels = 0
    for group in target.glob(f"*/{GROUP}*.json"):
        names = json.loads(group.read_text())["child_paths"]
        here = {name: str(group.parent / name) for name in names if (group.parent / name).exists()}
        group.write_text(json.dumps({"child_paths": here}))
        kernels += 1
    return kernels


def prune(folder: Path, used: set[str]) -> None:
    """Remove the kernels of earlier sources: those in folders that are not among the ``used`` ones."""
    for path in {path.parent for path in folder.glob("*/*.cubin")}:
        if path.name not in used:
            shutil.rmtree(path)


def count(folder: Path) -> int:
    """Kernels in a cache."""
    return sum(1 for _ in folder.glob("*/*.cubin"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.triton_cache", description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=900, help="compile nothing more after these (900)")
    parser.add_argument("--only", default="", help="calls whose name holds this text")
    chosen = parser.parse_args(arguments)
    import torch
    from triton import knobs

    hits = {True: 0, False: 0}
    knobs.compilation.listener = lambda *, cache_hit, **_: hits.update({cache_hit: hits[cache_hit] + 1})
    started, done, left, failed = time.monotonic(), 0, 0, 0
    seen: set[str] = set()
    used: set[str] = set()
    with launchers() as launcher, torch.no_grad():

        def compiled(kernel: Any) -> None:
            if kernel.hash not in seen:
                seen.add(kernel.hash)
                used.update(Path(path).parent.name for path in kernel.metadata_group.values())
                launcher(kernel)

        with compiling(chosen.architecture, compiled):
            for name, call in calls():
                if chosen.only not in name:
                    continue
                if time.monotonic() - started > chosen.seconds:
                    left += 1
                    continue
                try:
                    call()
                    done += 1
                except Exception as error:  # one call that cannot be followed costs only its own kernels
                    failed += 1
                    print(f"{name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    if not chosen.only and not left and not failed:
        prune(Path(knobs.cache.dir), used)
    print(
        f"Triton for sm_{chosen.architecture}: {len(seen)} kernels of {done} calls, {hits[False]} compiled, "
        f"{hits[True]} there already; {failed} calls failed, {left} left out for time"
    )
    return 1 if failed or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
