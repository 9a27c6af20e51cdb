"""Programs compiled by AOTInductor: packages that C++ runs without Python, and Python runs, too."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from magnet.errors import MagNetError
from magnet.export.exporters import quiet, reason
from magnet.export.metadata import METADATA

__all__ = ["check_compiler", "run_aoti", "write_aoti"]


def check_compiler() -> None:
    """Raise MagNetError where there is no C++ compiler, without which nothing is compiled."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # imports the whole compiler, which takes seconds

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise MagNetError(
            "format: expected a C++ compiler for aoti, got none that runs; install g++, or name one by the environment "
            "variable CXX"
        ) from error


def write_aoti(program: torch.export.ExportedProgram, metadata: str, path: Path) -> None:
    """Compile a program for the processor of this machine, and write it with its description.

    Raises:
        MagNetError: it does not compile.
    """
    from torch._inductor import aoti_compile_and_package

    content = io.BytesIO()  # torch's own writer ends the process where a disk is full
    options = {"aot_inductor.metadata": {METADATA: metadata}}
    try:
        with quiet():
            aoti_compile_and_package(program, package_path=content, inductor_configs=options)
    except OSError:
        raise
    except Exception as error:
        raise MagNetError(
            f"format: expected a program that AOTInductor of torch {torch.__version__} compiles, got an error "
            f"({reason(error)}); check the C++ compiler, or export pt2"
        ) from error
    path.write_bytes(content.getbuffer())


@torch.inference_mode()
def run_aoti(path: Path, images: Tensor) -> Tensor:
    """The labels that a package gives."""
    labels: Tensor = torch._inductor.aoti_load_package(str(path))(images)[0]
    return labels
