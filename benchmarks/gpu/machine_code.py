"""What the machine code of the main kernels says of their speed: loads in flight, loops, fences. Counted, not measured.

PYTHONPATH=csrc:benchmarks python -m gpu.machine_code     # a table for sm_90, of maps of 19 classes in fp32

A kernel's registers and shared memory decide how many of its threads a multiprocessor holds; what each of them asks for
before it needs the first of it is what is in flight. Little's law wants about 34 KB of a multiprocessor of an H200
(4.3 TB/s over 132 of them, about a microsecond under load).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

import build_nvcc
from gpu.resources import SOURCES

ARCHITECTURE = "9.0"
THREADS, REGISTERS, SHARED, BLOCKS = 2048, 65536, 227 * 1024, 32  # of a multiprocessor of compute capability 9.0
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)\s*([^;]*);")
WORDS = {"64": 2, "128": 4}
# Fences, and atomics in global memory, in shared memory and in global memory without a result. REDUX, which begins like
# the last, adds up a warp's registers.
ORDERING = {
    "MEMBAR": ("MEMBAR",),
    "CCTL": ("CCTL",),
    "ATOM": ("ATOM", "ATOMG"),
    "ATOMS": ("ATOMS",),
    "RED": ("RED", "REDG"),
}


class Kernel(NamedTuple):
    """One instantiation: ``symbol`` is a pattern of its mangled name, which begins with the kernel's."""

    source: str
    symbol: str
    threads: int  # of a block


KERNELS = (
    Kernel("uncertainty_score", r"score_planesIfLb0ELi4ELi19E", 256),
    Kernel("uncertainty_score", r"score_planesINS_8BFloat16ELb0ELi8ELi19E", 256),
    Kernel("uncertainty_score", r"score_pixelsIfLb0E", 128),
    Kernel("uncertainty_score", r"score_doubledIfLb0ELb1E", 256),
    Kernel("uncertainty_score", r"score_doubledINS_8BFloat16ELb0ELb1E", 256),
    Kernel("uncertainty_score", r"score_upsampledIfLb0E", 256),
    Kernel("refine_step", r"median_of_fewILi3E", 256),
    Kernel("refine_step", r"median_of_25I", 256),
    *(Kernel("refine_step", rf"median_of_listsILi{size}E", 64 if size < 11 else 32) for size in (7, 9, 11, 13, 15)),
    Kernel("select_points", r"make_keys_kernelIfE", 256),
    Kernel("select_points", r"make_keys_kernelINS_8BFloat16E", 256),
    Kernel("select_points", r"make_wide_keysIdE", 256),
    Kernel("select_points", r"count_candidatesILi512E", 512),
    Kernel("select_points", r"count_digitILb0E", 256),
    Kernel("select_points", r"count_digitILb1E", 256),
    Kernel("select_points", r"list_tilesIjE", 256),
    Kernel("select_points", r"list_tilesItE", 256),
    Kernel("select_points", r"list_imageIjLi256E", 256),
    Kernel("select_points", r"list_imageIjLi1024E", 1024),
    Kernel("select_points", r"list_imageImLi1024E", 1024),
    Kernel("replace_points", r"replace_pointsIjE", 256),
    Kernel("refine_stage", r"stage_scoresIfLb0ELb0ELb1E", 256),
    Kernel("refine_stage", r"stage_scoresIfLb0ELb1ELb1E", 256),
    Kernel("refine_stage", r"stage_scoresINS_8BFloat16ELb0ELb1ELb1E", 256),
    Kernel("refine_stage", r"stage_softmaxIfE", 256),
    Kernel("refine_stage", r"stage_replaceIfLb0E", 256),
    Kernel("refine_stage", r"stage_replaceINS_8BFloat16ELb0E", 256),
    Kernel("refine_stage", r"stage_replace_labelsI", 256),
    Kernel("upsample_confidence", r"upsample_confidence_squaresIfLb0E", 256),
    Kernel("upsample_confidence", r"upsample_confidence_squaresINS_8BFloat16ELb0E", 256),
    Kernel("crop_patches", r"crop_copyIjLi4E", 256),
    Kernel("crop_patches", r"crop_planesIfLi4E", 256),
    Kernel("stitch_patches", r"stitch_planesIfE", 256),
    Kernel("stitch_patches", r"stitch_planesINS_8BFloat16E", 256),
    Kernel("stitch_patches", r"stitch_pixelsIfE", 256),
    Kernel("patch_uncertainty", r"sum_bandsINS0_12ConfidenceOfIfLb0E", 256),
    Kernel("patch_uncertainty", r"sum_bandsINS0_12ConfidenceOfINS_8BFloat16ELb0E", 256),
    Kernel("patch_uncertainty", r"sum_bandsINS0_13ConfidenceMapE", 256),
    Kernel("patch_uncertainty", r"mean_of_boxes", 128),
    Kernel("confidence", r"confidence_planesIfLb0ELi4ELi19E", 256),
    Kernel("confidence", r"confidence_planesINS_8BFloat16ELb0ELi8ELi19E", 256),
    Kernel("median_blur", r"median_of_fewILi3E", 256),
    Kernel("median_blur", r"median_of_25I", 256),
)


def cuobjdump() -> Path | None:
    """Of the toolkit or of the triton package."""
    places = [shutil.which("cuobjdump")]
    with contextlib.suppress(build_nvcc.NvccError):
        places.append(str(build_nvcc.toolkit() / "bin" / "cuobjdump"))
    places.append(str(Path(sysconfig.get_path("purelib"), "triton", "backends", "nvidia", "bin", "cuobjdump")))
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def disassembly(program: Path, objects: Path, architecture: str) -> dict[str, str]:
    """Symbol: machine code as text."""
    command = [str(program), "-arch", f"sm_{architecture}", "-sass", str(objects)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"Function : (\S+)", text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


class Instruction(NamedTuple):
    address: int
    name: str  # with what follows its points
    operands: str

    @property
    def loaded(self) -> int:
        """Bytes from global memory."""
        if not re.match(r"LDG?\.", self.name):
            return 0
        narrow = re.search(r"\.[US](8|16)\b", self.name)
        return int(narrow[1]) // 8 if narrow else 4 * self.words

    @property
    def words(self) -> int:
        return next((WORDS[part] for part in self.name.split(".") if part in WORDS), 1)

    @property
    def registers(self) -> set[int]:
        """That it names: what must be there, or is overwritten, when it is issued."""
        return {
            int(number) + i
            for number, wide in re.findall(r"\bR(\d+)(\.64)?", self.operands)
            for i in range(2 if wide else 1)
        }

    @property
    def jump(self) -> int | None:
        found = re.search(r"0x([0-9a-f]+)", self.operands) if self.name.startswith("BRA") else None
        return int(found[1], 16) if found else None


def instructions(text: str) -> list[Instruction]:
    return [Instruction(int(address, 16), name, rest) for address, name, rest in INSTRUCTION.findall(text)]


def in_flight(code: list[Instruction]) -> int:
    """The most bytes that a thread has asked for, in the order of the code, before it needs the oldest of them."""
    most, waiting = 0, []  # (registers, bytes), the oldest first
    for one in code:
        needed = one.registers
        last = max((i for i, (registers, _) in enumerate(waiting) if registers & needed), default=-1)
        waiting = waiting[last + 1 :]  # loads come in the order in which they were asked for
        if one.loaded:
            target = int(re.match(r"R(\d+)", one.operands)[1]) if one.operands.startswith("R") else -1
            waiting.append((set(range(target, target + one.words)), one.loaded))
            most = max(most, sum(size for _, size in waiting))
    return most


def loops(code: list[Instruction]) -> list[list[Instruction]]:
    """The innermost ones."""
    ranges = [(one.jump, one.address) for one in code if one.jump is not None and one.jump < one.address]
    inner = [a for a in ranges if not any(a[0] <= b[0] and b[1] <= a[1] and a != b for b in ranges)]
    return [[one for one in code if begin <= one.address <= end] for begin, end in sorted(set(inner))]


def ordering(code: list[Instruction]) -> dict[str, int]:
    """How many there are of each kind of ORDERING."""
    firsts = [one.name.split(".")[0] for one in code]
    return {heading: sum(first in names for first in firsts) for heading, names in ORDERING.items()}


def resident(threads: int, registers: int, shared: int) -> int:
    """Blocks that a multiprocessor holds; registers go to warps by eights, a KB of shared memory to the system."""
    by_registers = REGISTERS // ((registers + 7) // 8 * 8 * threads)
    return min(BLOCKS, THREADS // threads, by_registers, SHARED // (shared + 1024))


def resources(report: str, symbol: str) -> tuple[int, int]:
    """Registers of a thread and shared bytes of a block, of a report of ``nvcc --resource-usage``."""
    part = next(part for part in re.split(r"Compiling entry function ", report)[1:] if re.search(symbol, part[:300]))
    shared = re.search(r"(\d+) bytes smem", part)
    return int(re.search(r"Used (\d+) registers", part)[1]), int(shared[1]) if shared else 0


def line(kernel: Kernel, compiled: build_nvcc.Compiled, text: str) -> str:
    registers, shared = resources(compiled.report, kernel.symbol)
    blocks, code = resident(kernel.threads, registers, shared), instructions(text)
    of_thread = in_flight(code)
    main = max(loops(code), key=lambda loop: (sum(one.loaded for one in loop), len(loop)), default=[])
    return (
        f"{kernel.symbol:46} {registers:4} {blocks * kernel.threads:8} {len(code):6} {len(main):6}"
        f" {sum(one.loaded for one in main):6} {of_thread:7} {blocks * kernel.threads * of_thread / 1024:7.0f}"
        + "".join(f" {count:{max(len(heading), 4)}}" for heading, count in ordering(code).items())
    )


def table(program: Path) -> list[str]:
    compiled = {one.source.stem: one for one in build_nvcc.compile_objects(SOURCES, [ARCHITECTURE], FOLDER)}
    codes = {stem: disassembly(program, one.object, build_nvcc.number(ARCHITECTURE)) for stem, one in compiled.items()}
    lines = [
        f"{'kernel':46} {'regs':>4} {'resident':>8} {'code':>6} {'loop':>6} {'loads':>6} {'flight':>7} {'KB/SM':>7}"
        + "".join(f" {heading:>4}" for heading in ORDERING)
    ]
    for kernel in KERNELS:
        found = [text for symbol, text in codes[kernel.source].items() if re.search(kernel.symbol, symbol)]
        lines.append(line(kernel, compiled[kernel.source], found[0]))
    return lines


FOLDER = build_nvcc.ROOT / "build" / "machine_code"  # of one architecture: apart from what setup.py has compiled

if __name__ == "__main__":
    found = cuobjdump()
    if found is None:
        raise SystemExit("cuobjdump was not found (it comes with the CUDA toolkit and with the triton package)")
    print("\n".join(table(found)))
