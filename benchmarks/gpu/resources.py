"""What the compiler says of every CUDA kernel: registers, stack and spills, against the budget that the kernel states.

PYTHONPATH=csrc:benchmarks python -m gpu.resources     # a table; compiles csrc/cuda/*.cu where they changed
"""

from __future__ import annotations

import re
from typing import NamedTuple

import build_nvcc

SOURCES = sorted((build_nvcc.ROOT / "csrc" / "cuda").rglob("*.cu"))
KERNEL = re.compile(r"MAGNET_KERNEL\([\w:]+,\s*(\d+)(?:,\s*\d+)?\)\s*void\s+(\w+)")


class Resources(NamedTuple):
    """Of one compiled kernel."""

    kernel: str
    symbol: str
    architecture: str
    registers: int
    stack: int
    spills: int


def budgets() -> dict[str, int]:
    """Kernel name: the most registers a thread may take, as its MAGNET_KERNEL says."""
    found: dict[str, int] = {}
    for path in sorted((build_nvcc.ROOT / "csrc" / "cuda").rglob("*.cu*")):
        for registers, name in KERNEL.findall(path.read_text()):
            found[name] = max(int(registers), found.get(name, 0))
    return found


def parse(report: str) -> list[Resources]:
    """The kernels in a report of ``nvcc --resource-usage``."""
    result = []
    for part in re.split(r"Compiling entry function ", report)[1:]:
        symbol, architecture = re.match(r"'(\w+)' for 'sm_(\d+)'", part).groups()
        stack, stores, loads = (
            int(re.search(rf"(\d+) bytes {what}", part)[1]) for what in ("stack frame", "spill stores", "spill loads")
        )
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        result.append(Resources(kernel_name(symbol), symbol, architecture, registers, stack, stores + loads))
    return result


def kernel_name(symbol: str) -> str:
    """The last of the nested names of a mangled function: "_ZN6magnet4cuda5scoreI..." -> "score"."""
    rest, name = symbol.removeprefix("_ZN"), symbol
    while match := re.match(r"(\d+)", rest):
        start, size = match.end(), int(match[1])
        name, rest = rest[start : start + size], rest[start + size :]
    return name


def table() -> list[str]:
    """A line a kernel: its budget, and for each architecture the most registers of all its instantiations."""
    wanted = build_nvcc.all_architectures()
    compiled = build_nvcc.compile_objects(SOURCES, wanted)
    numbers, allowed = [build_nvcc.number(word) for word in wanted], budgets()
    lines = [f"{'source':20} {'kernel':20} {'made':>5} {'budget':>6}" + "".join(f"{'sm_' + n:>8}" for n in numbers)]
    worst = [0, 0]
    for one in compiled:
        kernels = parse(one.report)
        worst = [max(worst[0], *(k.stack for k in kernels)), max(worst[1], *(k.spills for k in kernels))]
        for name in sorted({k.kernel for k in kernels}):
            most = [max(k.registers for k in kernels if (k.kernel, k.architecture) == (name, n)) for n in numbers]
            made = sum(k.kernel == name for k in kernels) // len(numbers)
            lines.append(f"{one.source.stem:20} {name:20} {made:5} {allowed[name]:6}" + "".join(f"{m:8}" for m in most))
    return [*lines, f"largest stack frame {worst[0]} bytes, most spilled {worst[1]} bytes"]


if __name__ == "__main__":
    print("\n".join(table()))
