"""Loading the compiled libraries, and remembering why one is not there. A GPU is touched only when asked about."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import json
import os
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch

from magnet_kernels._dispatcher import NAMESPACE, has_kernel

_FOLDER = Path(__file__).parent
_BUILD_RECORD = _FOLDER / "_build_record.json"
_MISSING = "the compiled library is not there; reinstall with 'pip install .'"

_record: dict[str, Any] = {}
_cpu_error: str | None = None
_cuda_error: str | None = None
_failed: dict[str, str] = {}  # libraries that are there and do not load, and why
_gpu_errors: dict[int, str | None] = {}


def _read_record() -> dict[str, Any]:
    try:
        record = json.loads(_BUILD_RECORD.read_text())
    except (OSError, ValueError):
        record = None
    return record if isinstance(record, dict) else {}


def load() -> None:
    """Load the compiled libraries; on failure keep the reason, and leave the reference in charge.

    Only a missing CPU library is worth a warning here: whether CUDA kernels are missed shows when a GPU is used.
    """
    global _record, _cpu_error, _cuda_error
    isa = os.environ.get("MAGNET_CPU_ISA", "")
    if isa not in ("", "baseline", "avx2", "avx512"):
        raise ValueError(f"MAGNET_CPU_ISA: expected baseline, avx2 or avx512, got {isa!r}; unset it to use the best")
    _record = _read_record()
    _cpu_error = _load("_cpu", "CPU", _record.get("cpu_skipped"))
    if torch.version.cuda is None:
        kind = "for ROCm" if torch.version.hip else "a CPU build"
        _cuda_error = _record.get("cuda_skipped") or f"this torch is {kind}; install one built for CUDA"
    else:
        _cuda_error = _load("_cuda", "CUDA", _record.get("cuda_skipped"))
    if _cpu_error is not None:
        warnings.warn(
            "magnet_kernels runs on its plain-torch reference, many times slower than its compiled kernels: "
            f"{_cpu_error}",
            stacklevel=5,
        )


def _library(stem: str) -> Path | None:
    """The file of a compiled library, named as this Python names its extensions."""
    files = (_FOLDER / f"{stem}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((file for file in files if file.exists() or file.is_symlink()), None)


def _hides() -> str | None:
    """That these are sources which stand before an installed package on Python's path, as in a clone's folder."""
    for found in importlib.metadata.distributions(name="magnet-kernels"):  # what pip left beside the sources is one
        installed = Path(str(found.locate_file(_FOLDER.name)))
        if installed.resolve() != _FOLDER.resolve() and any(installed.glob("_cpu*")):
            return (
                f"the sources in {_FOLDER.parent} hide the package that is installed in {installed.parent}; start "
                "Python in another folder, or as 'python -P'"
            )
    return None


def _load(stem: str, key: str, skipped: str | None) -> str | None:
    """None where the library is loaded and brings kernels for a dispatch key, else the reason why not."""
    library = _library(stem)
    if library is None:
        if skipped is None and _record:  # it was built
            _failed[stem] = f"{stem}: {_MISSING}"
        return skipped or _hides() or _MISSING
    try:
        torch.ops.load_library(str(library))
    except (OSError, RuntimeError) as error:  # RuntimeError: it loads, and this torch refuses what it registers
        said = f"{library.name} does not load: {_told(error)}"
    else:
        if has_kernel(NAMESPACE, "confidence", key):
            return None
        said = f"{library.name} holds no kernels"
    _failed[library.name] = said = (
        f"{said}; reinstall with 'pip install --force-reinstall --no-deps .' into this environment (it was built with "
        f"torch {_record.get('built_with_torch', '?')}, and torch here is {torch.__version__})"
    )
    return said


def _told(error: BaseException) -> str:
    """An error with what it was raised from, where torch keeps the linker's words; in one line."""
    words = []
    cause: BaseException | None = error
    while cause is not None:
        words.append(" ".join(str(cause).split()) or type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return ": ".join(dict.fromkeys(words))


def cpu_reason(operator: str) -> str | None:
    """None where the compiled CPU kernel of ``operator`` is live, else the reason."""
    if _cpu_error is not None:
        return _cpu_error
    return None if has_kernel(NAMESPACE, operator, "CPU") else "the library holds no CPU kernel of this operator"


def cuda_reason(operator: str, device: int | None = None) -> str | None:
    """None where the compiled CUDA kernel of ``operator`` runs on a GPU (None: the current one), else the reason."""
    if _cuda_error is not None:
        return _cuda_error
    if not has_kernel(NAMESPACE, operator, "CUDA"):
        return "the library holds no CUDA kernel of this operator"
    if not torch.cuda.is_available():
        return _no_gpu()
    if device is None:
        device = torch.cuda.current_device()
    if device not in _gpu_errors:
        _gpu_errors[device] = _driver_reason() or _gpu_reason(device)
    return _gpu_errors[device]


@functools.cache
def _no_gpu() -> str:
    """Why torch sees no GPU."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return f"torch sees no GPU: {' '.join(str(error).split('. ')[0].split())}"
    return "torch sees no GPU"


@functools.cache
def _driver_reason() -> str | None:
    """None where the driver runs what the CUDA library was built with, and torch has the stream that it asks for."""
    library = ctypes.CDLL(str(_library("_cuda")))  # loaded already
    if not library.magnet_cuda_finds_stream():
        return "this torch has no aoti_torch_get_current_cuda_stream; install torch 2.11 or newer"
    runtime, driver = ctypes.c_int32(), ctypes.c_int32()
    library.magnet_cuda_versions(ctypes.byref(runtime), ctypes.byref(driver))
    return _version_reason(runtime.value, driver.value)


def _version_reason(runtime: int, driver: int) -> str | None:
    """None where a driver for CUDA ``driver`` runs a runtime of CUDA ``runtime`` (1000 * major + 10 * minor).

    Within a major version any driver runs any runtime and its machine code.
    """
    if driver // 1000 >= runtime // 1000:
        return None

    def name(version: int) -> str:
        return f"{version // 1000}.{version % 1000 // 10}"

    if driver == 0:
        return f"no NVIDIA driver was found; the kernels were built with CUDA {name(runtime)}"
    return (
        f"the NVIDIA driver supports CUDA {name(driver)}, and the kernels were built with CUDA {name(runtime)}; update "
        f"the driver, or reinstall with the nvcc of CUDA {driver // 1000} (CUDA_HOME)"
    )


def _gpu_reason(device: int) -> str | None:
    """None where one of the built architectures runs on this GPU: the same major version and no newer, or any PTX."""
    built = _record.get("cuda_architectures") or []
    if not built:
        return (
            f"{_BUILD_RECORD.name}, which says for which GPUs the kernels were built, is missing or damaged; reinstall"
        )
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
    if not _record:
        _failed[_BUILD_RECORD.name] = f"{_BUILD_RECORD.name} is missing or damaged; reinstall"
    try:
        _host = importlib.import_module("magnet_kernels._host")
    except ImportError as error:
        info["host_module"] = f"not there: {error}"
        if _library("_host") is not None:
            _failed["_host"] = f"the host module does not load: {_told(error)}; reinstall"
    else:
        info["host_module"] = "ok"
        info.update(_host.build_info())
    info["failed_to_load"] = dict(_failed)
    return info
