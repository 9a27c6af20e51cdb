"""The CUDA library and torch: it loads in every torch from 2.11 on, GPU or not, and says why where it cannot run."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from live import environment_of_a_program

import magnet_kernels
from magnet_kernels import _backends, _dispatcher, _loader, available_backends, build_info, confidence

LIBRARY = next(Path(magnet_kernels.__file__).parent.glob("_cuda.*"), None)
built = pytest.mark.skipif(LIBRARY is None, reason=f"no CUDA library: {build_info().get('cuda_skipped')}")
cuda_torch = pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch built for CUDA, but no GPU")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="what is said where there is no GPU")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """The package under test, whatever lies in the current folder (-P)."""
    command = [sys.executable, "-P", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program())


@built
def test_it_needs_nothing_that_a_cpu_build_of_torch_lacks():
    """All its symbols are found at once (RTLD_NOW), so that one binary serves CPU and CUDA builds."""
    done = python("-c", f"import torch, magnet_kernels; torch.ops.load_library({str(LIBRARY)!r})")
    assert done.returncode == 0, done.stderr


@built
@cuda_torch
def test_both_libraries_load():
    info = build_info()
    assert (info["cpu_library"], info["cuda_library"], info["failed_to_load"]) == ("ok", "ok", {})


@built
@cuda_torch
@pytest.mark.parametrize("operator", available_backends())
def test_every_operator_has_a_cuda_kernel(operator):
    assert _dispatcher.has_kernel("magnet_kernels", operator, "CUDA")


@built
@cuda_torch
def test_it_finds_torchs_stream():
    library = ctypes.CDLL(str(LIBRARY))
    assert library.magnet_cuda_finds_stream()
    runtime, driver = ctypes.c_int32(-1), ctypes.c_int32(-1)
    library.magnet_cuda_versions(ctypes.byref(runtime), ctypes.byref(driver))
    assert runtime.value >= 12000 and driver.value >= 0


@built
@cuda_torch
@no_gpu
def test_without_a_gpu_that_is_all_that_is_missing():
    done = python("-m", "magnet", "doctor", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    report = json.loads(done.stdout)
    said = {record["backends"]["cuda"] for record in report["operators"].values()}
    assert len(said) == 1 and said.pop().startswith("torch sees no GPU: ")
    assert {record["backends"]["cpu"] for record in report["operators"].values()} == {"ok"}


# --- what is told where it cannot run


def test_a_library_that_does_not_load_says_why(monkeypatch, tmp_path):
    """torch keeps the linker's words in the cause of its error."""

    def refuse(path):
        try:
            raise OSError(f"{path}: undefined symbol: aoti_torch_new_name")
        except OSError as cause:
            raise OSError(f"Could not load this library: {path}") from cause

    (tmp_path / "_cuda.abi3.so").write_bytes(b"")
    monkeypatch.setattr(_loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(_loader, "_failed", {})
    monkeypatch.setattr(torch.ops, "load_library", refuse)
    said = _loader._load("_cuda", "CUDA", None)
    assert said.startswith("_cuda.abi3.so does not load: Could not load this library")
    assert "undefined symbol: aoti_torch_new_name" in said and "reinstall" in said and torch.__version__ in said
    assert _loader._failed == {"_cuda.abi3.so": said}


def test_what_was_built_and_is_gone_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(_loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(_loader, "_failed", {})
    monkeypatch.setattr(_loader, "_hides", lambda: None)
    (tmp_path / "_cuda.abi2.so").write_bytes(b"of another Python")
    for record, skipped, errors in (({"cuda_skipped": None}, None, 1), ({"a": 1}, "MAGNET_CUDA=0", 0), ({}, None, 0)):
        monkeypatch.setattr(_loader, "_record", record)
        _loader._failed.clear()
        said = _loader._load("_cuda", "CUDA", skipped)
        assert said == (skipped or "the compiled library is not there; reinstall with 'pip install .'")
        assert len(_loader._failed) == errors


def test_a_library_without_kernels_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "_cuda.abi3.so").write_bytes(b"")
    monkeypatch.setattr(_loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(_loader, "_failed", {})
    monkeypatch.setattr(_loader, "has_kernel", lambda *_: False)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    assert _loader._load("_cuda", "CUDA", None).startswith("_cuda.abi3.so holds no kernels; reinstall")
    assert "_cuda.abi3.so" in _loader._failed


@pytest.mark.parametrize("text", [None, "", "not JSON", "[1, 2]"])
def test_a_damaged_record_of_the_build_is_told(monkeypatch, tmp_path, two_gpus, text):
    record = tmp_path / "_build_record.json"
    if text is not None:
        record.write_text(text)
    monkeypatch.setattr(_loader, "_BUILD_RECORD", record)
    monkeypatch.setattr(_loader, "_record", _loader._read_record())
    monkeypatch.setattr(_loader, "_failed", {})
    assert _loader._record == {}
    assert "_build_record.json" in _loader.build_info()["failed_to_load"]
    assert "_build_record.json" in _loader.cuda_reason("confidence", 0)


def test_a_file_that_is_no_library_says_so(monkeypatch, tmp_path):
    (tmp_path / "_cuda.abi3.so").write_bytes(b"not a library")
    monkeypatch.setattr(_loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(_loader, "_failed", {})
    assert "invalid ELF header" in _loader._load("_cuda", "CUDA", None) or "file too short" in _loader._load(
        "_cuda", "CUDA", None
    )


@pytest.mark.parametrize(
    ("runtime", "driver", "reason"),
    [
        (13000, 13000, None),
        (13000, 13010, None),
        (13010, 13000, None),  # minor versions are compatible in both directions
        (12080, 13000, None),
        (13000, 12080, "the NVIDIA driver supports CUDA 12.8, and the kernels were built with CUDA 13.0; update the"),
        (13000, 0, "no NVIDIA driver was found; the kernels were built with CUDA 13.0"),
    ],
)
def test_a_driver_that_is_too_old(runtime, driver, reason):
    said = _loader._version_reason(runtime, driver)
    assert said is None if reason is None else said.startswith(reason)


@pytest.fixture
def two_gpus(monkeypatch):
    """Compute capability 9.0, for which kernels were built, and 8.0, for which not; the first is the current one."""
    monkeypatch.setattr(_loader, "_cuda_error", None)
    monkeypatch.setattr(_loader, "_record", {"cuda_architectures": ["9.0"]})
    monkeypatch.setattr(_loader, "_gpu_errors", {})
    monkeypatch.setattr(_loader, "_driver_reason", lambda: None)
    monkeypatch.setattr(_loader, "has_kernel", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=0: [(9, 0), (8, 0)][device or 0])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")


def test_the_gpu_of_the_tensors_is_judged_not_the_current_one(two_gpus):
    assert _loader.cuda_reason("confidence") is None and _loader.cuda_reason("confidence", 0) is None
    assert _loader.cuda_reason("confidence", 1).startswith("GPU 1 has compute capability 8.0")

    def dispatched():
        pass

    def chosen(index):
        return _backends._choose("confidence", "auto", torch.device("cuda", index), dispatched)

    assert chosen(0) is dispatched and chosen(1) is not dispatched
    with pytest.raises(RuntimeError, match="'cuda' was asked for but cannot run confidence: GPU 1 has compute"):
        _backends._choose("confidence", "cuda", torch.device("cuda", 1), dispatched)


def test_a_driver_that_is_too_old_is_a_reason_to_fall_back(two_gpus, monkeypatch):
    monkeypatch.setattr(_loader, "_driver_reason", lambda: "the driver is too old")
    assert _loader.cuda_reason("confidence", 0) == "the driver is too old"
    assert _backends._best_on_gpu("confidence", 0) in ("triton", "reference")


def test_no_gpu_is_touched_at_import():
    script = (
        "import torch; torch.cuda.init = torch.cuda.is_available = torch.cuda.current_device = None\n"
        "import magnet, magnet_kernels; assert not torch.cuda.is_initialized()"
    )
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


def test_cpu_tensors_run_without_asking_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", None)
    assert confidence(torch.rand(1, 3, 4, 5)).shape == (1, 1, 4, 5)
