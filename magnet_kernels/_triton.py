"""The Triton kernels as torch operators, in a namespace of their own beside the compiled ones.

Nothing here imports triton before a kernel is to run or a report asks.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch

from magnet_kernels import _library

NAMESPACE = "magnet_kernels_triton"

# "Triton Error [CUDA]: ..." is whatever the driver says of loading a kernel or of running it. This is of loading.
_NOT_LOADED = ("kernel image", "PTX", "device function", "named symbol", "too many resources", "not supported")

_failures: dict[str, str] = {}


def register(references: dict[str, Callable[..., Any]]) -> None:
    """Define every operator of ``references`` in this namespace; what fails to compile falls back to its reference."""
    _library.mirror(NAMESPACE)
    for operator, reference in references.items():
        _library.implement(NAMESPACE, operator, _implementation(operator, reference), "CUDA")


def _implementation(operator: str, reference: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        if operator in _failures:
            return reference(*arguments)
        try:
            return _package().implementations[operator](*arguments)
        except Exception as error:
            if _is_out_of_memory(error):
                raise torch.OutOfMemoryError(str(error)) from error
            if not _is_of_triton(error):
                raise
            # Kernels compile before they run, and the one that writes in place is the last: nothing is lost.
            _failures[operator] = _one_line(error)
            warnings.warn(
                f"magnet_kernels: the Triton kernel of {operator} does not work here, and from now on its plain-torch "
                f"reference runs instead: {_failures[operator]}",
                stacklevel=2,
            )
            return reference(*arguments)

    return run


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the driver had no memory for a kernel: torch says so itself of the tensors it makes."""
    return type(error) is RuntimeError and str(error).startswith("Triton Error") and "out of memory" in str(error)


def _is_of_triton(error: Exception) -> bool:
    """Whether compiling or loading a kernel failed, as opposed to the call or the device."""
    import triton

    if isinstance(error, (torch.OutOfMemoryError, MemoryError, ValueError, IndexError)):
        return False
    if isinstance(error, (triton.TritonError, OSError)) or type(error).__module__.startswith("triton"):
        return True
    if not isinstance(error, RuntimeError):
        return False
    words = str(error)
    if words.startswith("Triton Error"):
        return any(part in words for part in _NOT_LOADED)
    return any(part in words for part in ("C compiler", "PassManager", "Triton", "newly compiled", "cache dir"))


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:400]


def _package() -> Any:
    return importlib.import_module("magnet_kernels.triton")


def reason(operator: str, device: int | None = None) -> str | None:
    """None where the Triton kernel of ``operator`` can run on a GPU (None: the current one), else why not."""
    if operator in _failures:
        return f"it failed: {_failures[operator]}"
    package = _package()
    if (why := package.reason(device)) is not None:
        return why
    return None if operator in package.implementations else "there is no Triton kernel of this operator"
