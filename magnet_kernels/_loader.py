"""Loading the compiled libraries, and remembering why one is not there."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from magnet_kernels._library import NAMESPACE

_FOLDER = Path(__file__).parent
_BUILD_RECORD = _FOLDER / "_build_record.json"

_cpu_error: str | None = None


def _record() -> dict[str, Any]:
    try:
        return json.loads(_BUILD_RECORD.read_text())
    except (OSError, ValueError):
        return {}


def load() -> None:
    """Load the compiled CPU kernels; on failure say so once, keep the reason, and leave the reference in charge."""
    global _cpu_error
    isa = os.environ.get("MAGNET_CPU_ISA", "")
    if isa not in ("", "baseline", "avx2", "avx512"):
        raise ValueError(f"MAGNET_CPU_ISA: expected baseline, avx2 or avx512, got {isa!r}; unset it to use the best")
    record = _record()
    library = next(_FOLDER.glob("_cpu.*"), None)
    if library is None:
        _cpu_error = record.get("cpu_skipped") or "the compiled library is not there; reinstall with 'pip install .'"
    else:
        try:
            torch.ops.load_library(str(library))
        except OSError as error:
            _cpu_error = f"{library.name} does not load: {error}"
    if _cpu_error is not None:
        warnings.warn(
            "magnet_kernels runs on its plain-torch reference, many times slower than its compiled kernels: "
            f"{_cpu_error}",
            stacklevel=3,
        )


def cpu_reason(operator: str) -> str | None:
    """None where the compiled CPU kernel of ``operator`` is live, else the reason."""
    if _cpu_error is not None:
        return _cpu_error
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{operator}", "CPU"):
        return "the library holds no CPU kernel of this operator"
    return None


def build_info() -> dict[str, Any]:
    """What was built and against what: compiler, torch, instruction set in use, and the reason for what is missing."""
    info: dict[str, Any] = {"torch": torch.__version__, **_record(), "cpu_library": _cpu_error or "ok"}
    try:
        _host = importlib.import_module("magnet_kernels._host")
    except ImportError as error:
        info["host_module"] = f"not there: {error}"
    else:
        info["host_module"] = "ok"
        info.update(_host.build_info())
    return info
