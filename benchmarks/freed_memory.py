"""What it is worth on a CPU to keep the memory that a prediction frees: seconds and peak, each in a process of its own.

python benchmarks/freed_memory.py --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from processor import cpu_name

RUNS = 5  # of which the first, which finds no memory to use again, is left out


def measure(name: str, kept: bool) -> dict[str, object]:
    """Of a model of the library on an image of its last scale, in bf16."""
    import torch

    import magnet
    from magnet.images import normalize

    if kept and not magnet.keep_freed_memory():
        raise SystemExit("memory cannot be kept here: glibc is needed, and no variables of its allocator")
    model = magnet.MagNet.from_pretrained(name, amp="bf16")
    pixels = torch.rand(1, 3, *model.scales[-1], generator=torch.Generator().manual_seed(0))
    image = normalize(pixels)
    seconds, system = [], []
    for _ in range(RUNS):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        with torch.inference_mode():
            model(image)
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds.append(time.perf_counter() - start)
        system.append(after.ru_stime - before.ru_stime)
    return {
        "model": name,
        "kept": kept,
        "seconds_median": round(statistics.median(seconds[1:]), 2),
        "system_seconds_median": round(statistics.median(system[1:]), 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.kept)))
        return
    rows = []
    for name in ("scenes", "hrf"):
        for kept in ((), ("--kept",)):
            command = [sys.executable, __file__, "--one", name, *kept]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(rows[-1], flush=True)
    if args.out:
        args.out.write_text(json.dumps({"processor": cpu_name(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
