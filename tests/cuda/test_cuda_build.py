"""Building the CUDA library: which nvcc and architectures, and a failure that costs nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import build_nvcc
from magnet_kernels import _loader

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FAKE_NVCC = """#!/bin/sh
case "$*" in
*--list-gpu-code*) echo sm_80; echo sm_90 ;;
*--dryrun*) echo "#$ TOP={folder}" >&2 ;;
*) echo "broken.cu(7): error: no such thing" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def fake_nvcc(tmp_path, monkeypatch) -> Path:
    """A toolkit that knows two architectures and compiles nothing."""
    home = tmp_path / "toolkit"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "nvcc").write_text(FAKE_NVCC.format(folder=home))
    (home / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(home))
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    forget()
    yield home
    forget()


def forget() -> None:
    build_nvcc.find.cache_clear()
    build_nvcc.known_architectures.cache_clear()


def test_all_architectures_that_this_nvcc_knows(fake_nvcc):
    assert build_nvcc.find() == fake_nvcc / "bin" / "nvcc" and build_nvcc.toolkit() == fake_nvcc.resolve()
    assert build_nvcc.architectures() == ["8.0", "9.0"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("9.0", ["9.0"]), ("8.0;9.0+PTX", ["8.0", "9.0+PTX"]), ("8.0 9.0a, 10.0", ["8.0", "9.0a"])],
)
def test_the_list_of_architectures_is_honoured(fake_nvcc, monkeypatch, asked, expected):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
    assert build_nvcc.architectures() == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["9.0"], ["-gencode=arch=compute_90,code=[sm_90]", f"-DMAGNET_MAJORS={1 << 9}"]),
        (["8.9", "8.6+PTX"], ["-gencode=arch=compute_86,code=[sm_89,sm_86,compute_86]", f"-DMAGNET_MAJORS={1 << 8}"]),
        (
            ["8.0", "8.9", "9.0a", "10.0+PTX", "12.0"],
            [
                "-gencode=arch=compute_80,code=[sm_80,sm_89]",
                "-gencode=arch=compute_90,code=[sm_90]",
                "-gencode=arch=compute_100,code=[sm_100,sm_120,compute_100]",
                f"-DMAGNET_MAJORS={1 << 8 | 1 << 9 | 1 << 10 | 1 << 12}",
            ],
        ),
    ],
)
def test_ptx_is_compiled_once_for_architectures_alike(wanted, expected):
    assert build_nvcc.target_flags(wanted) == expected


@pytest.mark.parametrize("asked", ["7.5", "Hopper", "sm_90", "9"])
def test_a_wrong_list_of_architectures(fake_nvcc, monkeypatch, asked):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
    with pytest.raises(build_nvcc.NvccError, match=r"^TORCH_CUDA_ARCH_LIST: expected numbers from 8.0 on, .*, got "):
        build_nvcc.architectures()


def test_no_known_architecture(fake_nvcc, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "12.0")
    with pytest.raises(build_nvcc.NvccError, match=r"knows none of 12\.0"):
        build_nvcc.architectures()


def install(target: Path, source: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-lib",
        str(target),
        "--build-temp",
        f"{target}.tmp",
    ]
    environment = {**os.environ, "MAGNET_CUDA": "", "TORCH_CUDA_ARCH_LIST": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=source, env=environment)


@pytest.fixture
def small_source(tmp_path) -> Path:
    """The build files of the project around next to no sources, which compile in seconds."""
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("pybind11")
    source = tmp_path / "source"
    builders = [f"csrc/build_{name}.py" for name in ("kernels", "host", "nvcc")]
    kept = ("setup.py", *builders, "pyproject.toml", "magnet_kernels/_version.py")
    for name in kept:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    files = {
        "csrc/cpu/nothing.cpp": "int magnet_nothing;\n",
        "csrc/host/module.cpp": "#include <pybind11/pybind11.h>\nPYBIND11_MODULE(_host, m) {}\n",
        "csrc/cuda/broken.cpp": "int magnet_broken;\n",
        "csrc/cuda/broken.cu": "this does not compile\n",
        "magnet_kernels/__init__.py": "",
        "README.md": "",
    }
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    return source


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "target" / "magnet_kernels").mkdir(parents=True)
    return tmp_path / "target"


def built(target: Path) -> set[str]:
    return {path.name.split(".")[0] for path in (target / "magnet_kernels").glob("*.so")}


def test_a_failing_nvcc_costs_the_cuda_library_alone(small_source, target, fake_nvcc):
    result = install(target, small_source, CUDA_HOME=str(fake_nvcc))
    assert result.returncode == 0, result.stdout + result.stderr
    assert built(target) == {"_cpu", "_host"}
    assert "installing without CUDA kernels" in result.stderr and "no such thing" in result.stderr
    record = json.loads((target / "magnet_kernels" / "_build_record.json").read_text())
    assert "the CUDA kernels did not compile" in record["cuda_skipped"] and record["cpu_skipped"] is None


def test_magnet_cuda_1_insists(small_source, target, fake_nvcc):
    result = install(target, small_source, CUDA_HOME=str(fake_nvcc), MAGNET_CUDA="1")
    assert result.returncode != 0 and "no such thing" in result.stdout + result.stderr


def test_magnet_cuda_0_builds_without(small_source, target, fake_nvcc):
    result = install(target, small_source, CUDA_HOME=str(fake_nvcc), MAGNET_CUDA="0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert built(target) == {"_cpu", "_host"} and "CUDA kernels" not in result.stderr
    record = json.loads((small_source / "magnet_kernels" / "_build_record.json").read_text())
    assert record["cuda_skipped"].startswith("MAGNET_CUDA=0 was set")


def test_a_wrong_magnet_cuda(small_source, target):
    result = install(target, small_source, MAGNET_CUDA="yes")
    assert result.returncode != 0 and "MAGNET_CUDA: expected 0, 1 or nothing, got 'yes'" in result.stderr


def _everything() -> list[str]:
    return build_nvcc.ARCHITECTURES.split(";")


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        (["8.0"], (8, 0), True),
        (["8.0"], (8, 9), True),
        (["8.6"], (8, 0), False),
        (["8.0"], (9, 0), False),
        (["8.0", "9.0+PTX"], (12, 0), True),
        (["9.0+PTX"], (8, 0), False),
        (["9.0a"], (9, 0), True),
        (_everything(), (8, 7), True),
        (_everything(), (10, 3), True),
        (_everything(), (11, 0), True),  # by PTX, as what was made for 10.0 and 12.0 does not run there
        (_everything(), (13, 0), True),
    ],
)
def test_a_gpu_runs_what_was_built_for_it(monkeypatch, built, capability, runs):
    monkeypatch.setattr(_loader, "_record", {"cuda_architectures": built})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    reason = _loader._gpu_reason(0)
    assert (reason is None) == runs
    if not runs:
        assert f"A GPU has compute capability {capability[0]}.{capability[1]}" in reason
        assert f"TORCH_CUDA_ARCH_LIST={capability[0]}.{capability[1]}" in reason
