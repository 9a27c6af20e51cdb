"""The launches of an operator, read from a trace of torch's profiler. Needs neither torch nor a GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gpu.arithmetic import Times

OURS, CUB = "magnet::", "cub::"  # in the names of kernels


class Launch(NamedTuple):
    """One launch of an operator, over many rounds. Times in microseconds."""

    case: str
    kernel: str
    median_us: float
    p20_us: float
    p80_us: float
    grid: str
    block: str
    registers: int


def short(name: str) -> str:
    """ "void magnet::cuda::count_candidates<512>(...)" -> "count_candidates"; without what stands in <> and ()."""
    plain = name
    while (shorter := re.sub(r"<[^<>]*>|\([^()]*\)", "", plain)) != plain:
        plain = shorter
    return plain.split("::")[-1].split()[-1] if plain.split() else name


def launches_of(case: str, trace: dict[str, Any], marks: str, rounds: int) -> list[Launch]:
    """From a Chrome trace of torch's profiler: kernels with ``marks`` in their names, as many in every round."""
    kernels = [e for e in trace["traceEvents"] if e.get("cat") == "kernel" and marks in e["name"]]
    kernels.sort(key=lambda event: event["ts"])
    if not kernels or len(kernels) % rounds:
        raise RuntimeError(f"{case}: {len(kernels)} launches in {rounds} rounds: the profiler lost some, or saw none")
    each, result = len(kernels) // rounds, []
    for place in range(each):
        same = kernels[place::each]
        names = {short(event["name"]) for event in same}
        if len(names) > 1:
            raise RuntimeError(f"{case}: launch {place + 1} of a round was {' and '.join(sorted(names))}")
        times = Times.of([float(event["dur"]) for event in same])
        told = same[0].get("args", {})
        grid, block = ("x".join(map(str, told.get(name, "?"))) for name in ("grid", "block"))
        registers = int(told.get("registers per thread", 0))
        result.append(Launch(case, names.pop(), times.median, times.p20, times.p80, grid, block, registers))
    return result


def lines(found: Sequence[Launch]) -> list[str]:
    """A line a launch, and after each case their sum."""
    result, cases = [], list(dict.fromkeys(launch.case for launch in found))
    for case in cases:
        of_it = [launch for launch in found if launch.case == case]
        result.append(f"{case}: {sum(launch.median_us for launch in of_it):.1f} us in {len(of_it)} launches")
        for launch in of_it:
            times = f"{launch.median_us:7.1f} us  {launch.p20_us:.1f}-{launch.p80_us:.1f}"
            result.append(
                f"  {launch.kernel:28} {times:24} {launch.grid} blocks of {launch.block}, {launch.registers} registers"
            )
    return result
