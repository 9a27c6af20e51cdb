"""Small kernels that nvcc compiles to PTX, launched on numpy's arrays: what the emulator is tested with."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from ptx import build, emulator

import build_nvcc

FOLDER = Path(__file__).resolve().parent
SEEDS = [int(seed) for seed in os.environ.get("MAGNET_PTX_SEEDS", "0 1 2 3 4 5").split()]


class Kernels:
    """The kernels of files in this folder, as nvcc compiles them. Raises NvccError where it cannot."""

    def __init__(self, *files: str, architecture: int = 90) -> None:
        self.modules = [self._compiled(FOLDER / file, architecture) for file in files]

    @staticmethod
    def _compiled(source: Path, architecture: int) -> emulator.Module:
        headers = [path for end in ("h", "cuh") for path in (build.ROOT / "csrc").rglob(f"*.{end}")]
        headers += FOLDER.glob("*.cuh")

        def command(path: Path) -> list[str]:
            targets = build_nvcc.target_flags([f"{architecture / 10}"])
            words = [str(build_nvcc.find()), *build_nvcc.FLAGS, "-lineinfo", "--ptx", *targets]
            return [*words, str(source), "-o", str(path)]

        target = build.OUTPUT / "self_test" / f"{source.stem}_{architecture}.ptx"
        return emulator.Module(build.made(target, [source, *headers], command).read_text())

    def launch(
        self, kernel: str, blocks: int, threads: int, *arguments: Any, options: emulator.Options | None = None
    ) -> None:
        """Run ``kernel`` ("name" or "name<...>" with the template's arguments as they are mangled: Lb1, j, f).

        Arrays are the device's memory while it runs; None is a null pointer. Raises Fault.
        """
        module, entry = self._entry(kernel)
        decoded, handle = module.kernel(entry)
        arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        if len(arguments) != len(decoded.params):
            raise TypeError(f"{kernel}: expected {len(decoded.params)} arguments, got {len(arguments)}")
        params = bytearray(decoded.param_bytes)
        for (offset, size), argument in zip(decoded.params, arguments, strict=True):
            params[offset : offset + size] = _bytes(argument, size)
        for array in arrays:
            emulator.LIBRARY.emulator_register(array.ctypes.data, array.nbytes)
        try:
            emulator.launch(handle, (blocks,), (threads,), 0, bytes(params), options or emulator.Options(races=2))
        finally:
            for array in arrays:
                emulator.LIBRARY.emulator_forget(array.ctypes.data)

    def _entry(self, kernel: str) -> tuple[emulator.Module, str]:
        name, _, template = kernel.partition("<")
        mangled = f"_ZN6magnet4cuda{len(name)}{name}" + (f"I{template[:-1]}E" if template else "")
        all_there = [(module, entry) for module in self.modules for entry in module.entries]
        found = [(module, entry) for module, entry in all_there if re.match(rf"{mangled}E", entry)]
        if len(found) != 1:
            raise KeyError(f"{kernel}: {[entry for _, entry in found]} of {sorted(entry for _, entry in all_there)}")
        return found[0]


def _bytes(argument: Any, size: int) -> bytes:
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data.to_bytes(size, "little")
    if argument is None:
        return bytes(size)
    return int(argument).to_bytes(size, "little", signed=int(argument) < 0)
