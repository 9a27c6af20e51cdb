"""Loading the compiled libraries, and remembering why one is not there. A GPU is touched only when asked about."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from magnet_kernels._library import NAMESPACE, has_kernel

_FOLDER = Path(__file__).parent
_BUILD_RECORD = _FOLDER / "_build_record.json"
_MISSING = "the compiled library is not there; reinstall with 'pip install .'"

_record: dict[str, Any] = {}
_cpu_error: str | None = None
_cuda_error: str | None = None
_gpu_errors: dict[int, str | None] = {}


def _read_record() -> dict[str, Any]:
    try:
        return json.loads(_BUILD_RECORD.read_text())
    except (OSError, ValueError):
        return {}


def load() -> None:
    """Load the compiled libraries; on failure keep the reason, and leave the reference in charge.

    Only a missing CPU library is worth a warning here: whether CUDA kernels are missed shows when a GPU is used.
    """
    global _record, _cpu_error, _cuda_error
    isa = os.environ.get("MAGNET_CPU_ISA", "")
    if isa not in ("", "baseline", "avx2", "avx512"):
        raise ValueError(f"MAGNET_CPU_ISA: expected baseline, avx2 or avx512, got {isa!r}; unset it to use the best")
    _record = _read_record()
    _cpu_error = _load("_cpu", _record.get("cpu_skipped"))
    if torch.version.cuda is None:
        _cuda_error = _record.get("cuda_skipped") or "this torch is a CPU build; install one built for CUDA"
    else:
        _cuda_error = _load("_cuda", _record.get("cuda_skipped"))
    if _cpu_error is not None:
        warnings.warn(
            "magnet_kernels runs on its plain-torch reference, many times slower than its compiled kernels: "
            f"{_cpu_error}",
            stacklevel=4,
        )


def _load(stem: str, skipped: str | None) -> str | None:
    """None where the library is loaded, else the reason why not."""
    library = next(_FOLDER.glob(f"{stem}.*"), None)
    if library is None:
        return skipped or _MISSING
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        return f"{library.name} does not load: {error}"
    return None


def cpu_reason(operator: str) -> str | None:
    """None where the compiled CPU kernel of ``operator`` is live, else the reason."""
    if _cpu_error is not None:
        return _cpu_error
    return None if has_kernel(NAMESPACE, operator, "CPU") else "the library holds no CPU kernel of this operator"


def cuda_reason(operator: str) -> str | None:
    """None where the compiled CUDA kernel of ``operator`` runs on the current GPU, else the reason."""
    if _cuda_error is not None:
        return _cuda_error
    if not has_kernel(NAMESPACE, operator, "CUDA"):
        return "the library holds no CUDA kernel of this operator"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    device = torch.cuda.current_device()
    if device not in _gpu_errors:
        _gpu_errors[device] = _gpu_reason(device)
    return _gpu_errors[device]


def _gpu_reason(device: int) -> str | None:
    """None where one of the built architectures runs on this GPU: the same major version and no newer, or any PTX."""
    built = _record.get("cuda_architectures") or []
    major, minor = torch.cuda.get_device_capability(device)
    for architecture in built:
        a, b = (int(part) for part in architecture.rstrip("af+PTX").split("."))
        if (a == major and b <= minor) or ("+PTX" in architecture and (a, b) <= (major, minor)):
            return None
    return (
        f"{torch.cuda.get_device_name(device)} has compute capability {major}.{minor}, and the kernels were built for "
        f"{', '.join(built)}; reinstall with TORCH_CUDA_ARCH_LIST={major}.{minor}"
    )


def build_info() -> dict[str, Any]:
    """What was built and against what: compiler, torch, instruction set in use, and the reason for what is missing."""
    info: dict[str, Any] = {
        "torch": torch.__version__,
        **_record,
        "cpu_library": _cpu_error or "ok",
        "cuda_library": _cuda_error or "ok",
    }
    try:
        _host = importlib.import_module("magnet_kernels._host")
    except ImportError as error:
        info["host_module"] = f"not there: {error}"
    else:
        info["host_module"] = "ok"
        info.update(_host.build_info())
    return info
