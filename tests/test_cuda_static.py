"""What nvcc says of the CUDA kernels, without a GPU: registers, spills and the width of loads, for every architecture.

Needs nvcc, and cuobjdump (of the toolkit or of the triton package) for the disassembly; skips where they are not.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

import build_nvcc

pytestmark = pytest.mark.cuda_static

SOURCES = sorted((build_nvcc.ROOT / "csrc" / "cuda").glob("*.cu"))
ARCHITECTURES = [build_nvcc.number(word) for word in build_nvcc.ARCHITECTURES.split(";")]
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
    for path in sorted((build_nvcc.ROOT / "csrc" / "cuda").glob("*.cu*")):
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


@pytest.fixture(scope="session")
def compiled() -> dict[str, build_nvcc.Compiled]:
    """Every source by its stem. Compiling takes minutes, unless an installation from this folder has just done so."""
    try:
        known = build_nvcc.known_architectures()
    except build_nvcc.NvccError as error:
        pytest.skip(str(error))
    wanted = [word for word in build_nvcc.ARCHITECTURES.split(";") if build_nvcc.number(word) in known]
    return {one.source.stem: one for one in build_nvcc.compile_objects(SOURCES, wanted)}


def test_every_kernel_states_a_budget():
    assert SOURCES
    for path in sorted((build_nvcc.ROOT / "csrc" / "cuda").glob("*.cu*")):
        text = path.read_text()
        assert path.name == "device.cuh" or "__global__" not in text, f"{path.name}: use MAGNET_KERNEL"
        assert path.name == "device.cuh" or text.count("MAGNET_KERNEL(") == len(KERNEL.findall(text)), path.name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", [source.stem for source in SOURCES])
def test_registers_and_spills(compiled, stem, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    allowed = budgets()
    kernels = [kernel for kernel in parse(compiled[stem].report) if kernel.architecture == architecture]
    assert kernels
    for kernel in kernels:
        assert kernel.kernel in allowed, f"{kernel.symbol} was not made by MAGNET_KERNEL"
        assert kernel.registers <= allowed[kernel.kernel], kernel
        assert kernel.stack == 0, kernel
        assert kernel.spills == 0, kernel


def cuobjdump() -> str:
    places = [shutil.which("cuobjdump")]
    with contextlib.suppress(build_nvcc.NvccError):
        places.append(str(build_nvcc.toolkit() / "bin" / "cuobjdump"))
    places.append(str(Path(sysconfig.get_path("purelib"), "triton", "backends", "nvidia", "bin", "cuobjdump")))
    found = next((place for place in places if place and Path(place).is_file()), None)
    if found is None:
        pytest.skip("cuobjdump was not found (it comes with the CUDA toolkit and with the triton package)")
    return found


def disassembly(compiled: build_nvcc.Compiled, architecture: str) -> dict[str, str]:
    """Symbol: machine code as text."""
    command = [cuobjdump(), "-arch", f"sm_{architecture}", "-sass", str(compiled.object)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"Function : (\S+)", text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("architecture", ["80", "90", "100"])
@pytest.mark.parametrize(
    ("stem", "kernels", "maps"),
    [
        ("score", r"score_planesIfLb0ELi4ELi(\d+)E", 2),
        ("score", r"score_planesINS_8BFloat16ELb0ELi8ELi(\d+)E", 2),
        ("confidence", r"confidence_planesIfLb0ELi4ELi(\d+)E", 1),
        ("confidence", r"confidence_planesINS_8BFloat16ELb0ELi8ELi(\d+)E", 1),
    ],
)
def test_maps_are_read_in_16_bytes(compiled, stem, kernels, maps, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    code = disassembly(compiled[stem], architecture)
    found = {symbol: int(match[1]) for symbol in code if (match := re.search(kernels, symbol))}
    assert len(found) == 8, f"the specialised class counts and 0, the generic one: {found}"
    for symbol, classes in found.items():
        wide = len(re.findall(r"LDG\.E\S*\.128", code[symbol]))
        planes = min(classes or 4, 4)  # of each map, at least, before the first is used
        assert wide >= planes * maps, f"{symbol}: {wide} loads of 16 bytes"
