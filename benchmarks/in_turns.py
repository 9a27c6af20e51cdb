"""Two builds of the kernels in turns on this CPU, each turn in a process of its own, memory kept.

python benchmarks/in_turns.py OLD NEW --out FILE.json

OLD, NEW: folders that hold a package magnet_kernels with its libraries. Timed are the operators whose maps are made
larger, and points most of which lie side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from processor import cpu_name

FIRST = 9  # calls that are not timed: until kept memory no longer grows
CALLS = 15


def cases() -> dict[str, Callable[[], object]]:
    import torch

    import magnet_kernels as mk

    generator = torch.Generator().manual_seed(0)

    def probabilities(*shape: int) -> torch.Tensor:
        return torch.rand(1, *shape, generator=generator).softmax(dim=1)

    fine, half, many = probabilities(19, 1024, 2048), probabilities(19, 512, 1024), probabilities(150, 256, 512)
    coarse_75, fine_75 = probabilities(7, 2448, 2448), probabilities(7, 2448, 2448)
    return {
        "upsample_confidence x2": lambda: mk.upsample_confidence(half, (1024, 2048)),
        "upsample_confidence x2, 150x512x1024": lambda: mk.upsample_confidence(many, (512, 1024)),
        "refine_step, half-size coarse, K=64": lambda: mk.refine_step(half, fine, n_points=64),
        "refine_step, half-size coarse": lambda: mk.refine_step(half, fine, n_points=65536),
        "refine_step_ 75%, 7x2448x2448": lambda: mk.refine_step_(coarse_75, fine_75, n_points=2448 * 2448 * 3 // 4),
    }


def turn() -> dict[str, float]:
    """Median milliseconds of each case."""
    import magnet_kernels as mk

    if not mk.keep_freed_memory():
        raise SystemExit("memory cannot be kept here: glibc is needed, and no variables of its allocator")
    found = {}
    for name, call in cases().items():
        taken = []
        for number in range(FIRST + CALLS):
            start = time.perf_counter()
            call()
            if number >= FIRST:
                taken.append(time.perf_counter() - start)
        found[name] = round(1000 * statistics.median(taken), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="*", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(turn()))
        return
    if len(args.builds) != 2 or args.out is None:
        parser.error("expected OLD, NEW and --out FILE.json")
    runs: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    for _ in range(args.turns):
        for build, taken in zip(args.builds, runs.values(), strict=True):
            environment = {**os.environ, "PYTHONPATH": str(build.resolve())}
            command = [sys.executable, __file__, "--one"]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            taken.append(json.loads(result.stdout))
    medians = {
        build: {name: round(statistics.median(run[name] for run in taken), 2) for name in taken[0]}
        for build, taken in runs.items()
    }
    content = {
        "processor": cpu_name(),
        "threads": len(os.sched_getaffinity(0)),
        "medians_ms": medians,
        "turns_ms": runs,
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
