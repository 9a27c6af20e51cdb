"""A build carried to a GPU machine: used where it fits, refused with the reason, kernels of Triton found there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import cub_topk, prebuilt, triton_cache
from live import environment_of_a_program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (ROOT / "benchmarks" / "gpu_prebuild.sh", ROOT / "benchmarks" / "gpu" / "build_cub.sh")
HOPPER = (9, 0)


@pytest.fixture
def tree(tmp_path) -> Path:
    """A tree with sources and no build."""
    root = tmp_path / "tree"
    for name in ("setup.py", "csrc/cuda/uncertainty_score.cu", "csrc/common/map.h"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"// {name}")
    (root / "magnet_kernels").mkdir()
    return root


@pytest.fixture
def carried(tree, tmp_path) -> Path:
    """A build of it, made up."""
    folder = tmp_path / "carried"
    (folder / "magnet_kernels").mkdir(parents=True)
    for name in ("_cpu.abi3.so", "_cuda.abi3.so", "_host.cpython-312-x86_64-linux-gnu.so", "_build_record.json"):
        (folder / "magnet_kernels" / name).write_text(f"carried {name}")
    prebuilt.write_manifest(folder, tree, "9.0", "V13.0.88")
    change(folder, torch="2.11.0+cu130")
    return folder


def change(folder: Path, **values: Any) -> None:
    manifest = folder / prebuilt.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **values}))


def test_manifest_says_what_it_was_made_of(carried, tree):
    made = json.loads((carried / prebuilt.MANIFEST).read_text())
    assert made["architecture"] == "9.0" and made["python"] == prebuilt.python_version()
    assert made["commit"] and made["sources"] == prebuilt.digest(tree)


@pytest.mark.parametrize("there", ["2.11.0+cu130", "2.11.1", "2.14.1+cu130", "3.0.0a0+git1234"])
def test_it_fits_the_same_torch_and_every_later_one(carried, tree, there):
    assert prebuilt.why_not(carried, tree, there, HOPPER) is None


@pytest.mark.parametrize(
    ("values", "there", "capability", "words"),
    [
        ({}, "2.10.1", HOPPER, "against torch 2.11.0+cu130, and this is the older 2.10.1"),
        ({}, "2.11.0", (8, 9), "for compute capability 9.0, and this GPU has 8.9"),
        ({}, "2.11.0", (10, 0), "and this GPU has 10.0"),
        ({"architecture": "8.9"}, "2.11.0", (8, 6), "for compute capability 8.9, and this GPU has 8.6"),
        ({"python": "3.1"}, "2.11.0", HOPPER, "for Python 3.1, and this is"),
        ({"machine": "made-up"}, "2.11.0", HOPPER, "for made-up, and this is"),
        ({"sources": "0", "commit": "abc"}, "2.11.0", HOPPER, "of other sources (commit abc)"),
        ({"architecture": 9}, "2.11.0", HOPPER, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(carried, tree, values, there, capability, words):
    change(carried, **values)
    assert words in str(prebuilt.why_not(carried, tree, there, capability))


def test_an_older_minor_architecture_fits(carried, tree):
    change(carried, architecture="8.6")
    assert prebuilt.why_not(carried, tree, "2.11.0", (8, 9)) is None


def test_what_is_not_there_is_said(carried, tree, tmp_path):
    assert "there is none" in str(prebuilt.why_not(tmp_path / "nothing", tree, "2.11.0", HOPPER))
    (carried / prebuilt.MANIFEST).write_text("{")
    assert "cannot be read" in str(prebuilt.why_not(carried, tree, "2.11.0", HOPPER))
    prebuilt.write_manifest(carried, tree, "9.0", "")
    next((carried / "magnet_kernels").glob("_cuda*")).unlink()
    assert "it lacks _cuda" in str(prebuilt.why_not(carried, tree, torch.__version__, HOPPER))


@pytest.mark.parametrize("name", ["setup.py", "csrc/common/map.h", "csrc/cuda/new.cuh"])
def test_changed_sources_make_another_digest(tree, name):
    before = prebuilt.digest(tree)
    (tree / "README.md").write_text("not compiled")
    assert prebuilt.digest(tree) == before
    (tree / name).write_text("changed")
    assert prebuilt.digest(tree) != before


def test_libraries_go_where_the_loader_looks(carried, tree):
    (tree / "magnet_kernels" / "_cuda.cpython-311.so").write_text("an earlier build, which would be found first")
    (tree / "magnet_kernels" / "__init__.py").write_text("kept")
    words = prebuilt.use(carried, tree)
    assert words.startswith("carried: commit") and "compute capability 9.0" in words
    names = {path.name for path in (tree / "magnet_kernels").iterdir()}
    assert names == {path.name for path in (carried / "magnet_kernels").iterdir()} | {"__init__.py"}
    assert (tree / "magnet_kernels" / "_cuda.abi3.so").read_text() == "carried _cuda.abi3.so"


def test_the_copy_that_is_built_follows_the_tree(tree, tmp_path):
    copy, names = tmp_path / "copy", ["setup.py", "csrc/cuda/uncertainty_score.cu", "csrc/common/map.h"]
    prebuilt.mirror(names, tree, copy)
    (copy / "build").mkdir()
    (copy / "build" / "kept.h").write_text("of the build")
    before = (copy / "setup.py").stat().st_mtime_ns
    (tree / "csrc/cuda/uncertainty_score.cu").write_text("changed")
    prebuilt.mirror([*names[:2], "csrc/cuda/gone.cu"], tree, copy)
    assert (copy / "csrc/cuda/uncertainty_score.cu").read_text() == "changed" and not (
        copy / "csrc/common/map.h"
    ).exists()
    assert (copy / "setup.py").stat().st_mtime_ns == before and (copy / "build" / "kept.h").exists()


def test_packing_says_what_is_missing(tree, tmp_path, capsys):
    for name in ("_cpu.abi3.so", "_build_record.json"):
        (tree / "magnet_kernels" / name).write_text("built")
    assert prebuilt.main(["pack", str(tree), str(tmp_path / "out"), "--architecture", "9.0"]) == 1
    assert "MISSING: _cuda, _host" in capsys.readouterr().out


def test_scripts_are_bash():
    for path in SCRIPTS:
        subprocess.run(["bash", "-n", str(path)], check=True)
        assert os.access(path, os.X_OK)


# Stands in for the python that builds: compilers and the package index only pretend, the rest is real.
STAND_IN = """#!/bin/bash
echo "$*" >> "$RECORD"
case "$*" in
  setup.py*)
    [ "$TORCH_CUDA_ARCH_LIST $MAGNET_CUDA $FAIL" = "9.0 1 " ] || { echo "made up error"; exit 1; }
    touch magnet_kernels/{_cpu.abi3,_cuda.abi3,_host}.so && echo "{}" > magnet_kernels/_build_record.json ;;
  "-m pip"*) ;;
  *build_nvcc*) echo nvcc ;;
  *gpu.triton_cache*)
    echo "$*" && mkdir -p "$TRITON_CACHE_DIR"/K && touch "$TRITON_CACHE_DIR"/K/k.cubin ;;
  *) exec "$REAL_PYTHON" "$@" ;;
esac
"""
NVCC = """#!/bin/bash
[ "$1" = --version ] && { echo "NVIDIA (R) Cuda compiler driver, V13.0.88"; exit; }
while [ "$1" != -o ]; do shift; done
touch "$2"
"""


@pytest.fixture
def prebuild(tmp_path) -> Any:
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True).returncode:
        pytest.skip("the script copies the files that git knows")
    for name, text in (("python", STAND_IN), ("nvcc", NVCC)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PYTHON": str(tmp_path / "python"),
            "REAL_PYTHON": sys.executable,
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "RECORD": str(tmp_path / "record"),
            "GPU_PREBUILT": str(tmp_path / "out"),
            "GPU_PREBUILD_WORK": str(tmp_path / "work"),
        }
        command = ["bash", str(SCRIPTS[0]), *arguments]
        environment = {**os.environ, **given, **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run


def test_script_makes_a_build_that_fits_this_tree(prebuild, tmp_path):
    run = prebuild()
    assert run.returncode == 0, run.stdout + run.stderr
    out = tmp_path / "out"
    assert prebuilt.why_not(out, ROOT, torch.__version__, HOPPER) is None
    made = json.loads((out / prebuilt.MANIFEST).read_text())
    assert made["cub"] and made["triton_kernels"] == 1 and made["nvcc"] == "V13.0.88"
    record = (tmp_path / "record").read_text()
    assert "gpu.triton_cache --architecture 90" in record and "nvidia-cuda-cccl==" in record
    assert (tmp_path / "work" / "tree" / "csrc" / "cuda" / "uncertainty_score.cu").exists()


def test_script_stops_where_the_libraries_do_not_compile(prebuild, tmp_path):
    run = prebuild(FAIL="1")
    assert run.returncode == 1 and "made up error" in run.stdout
    assert not (tmp_path / "out" / prebuilt.MANIFEST).exists()


# --- Triton's kernels


def made_up_cache(folder: Path) -> None:
    kernel, launcher = folder / "KERNEL", folder / "LAUNCHER"
    kernel.mkdir(parents=True)
    launcher.mkdir()
    for name in ("k.cubin", "k.json", "k.ttir"):
        (kernel / name).write_text(name)
    paths = {name: str(kernel / name) for name in ("k.cubin", "k.json", "k.ttir")}
    (kernel / "__grp__k.json").write_text(json.dumps({"child_paths": paths}))
    (launcher / "__triton_launcher.so").write_text("so")


def test_a_cache_is_carried_with_paths_that_are_there(tmp_path):
    made_up_cache(tmp_path / "made")
    assert triton_cache.pack(tmp_path / "made", tmp_path / "packed") == 1
    assert not list((tmp_path / "packed").glob("*/*.ttir")), "what no launch reads stays behind"
    (tmp_path / "made").rename(tmp_path / "elsewhere")
    assert triton_cache.unpack(tmp_path / "packed", tmp_path / "used") == 1
    paths = json.loads((tmp_path / "used" / "KERNEL" / "__grp__k.json").read_text())["child_paths"]
    assert set(paths) == {"k.cubin", "k.json"} and all(Path(path).exists() for path in paths.values())
    assert (tmp_path / "used" / "LAUNCHER" / "__triton_launcher.so").exists()
    triton_cache.prune(tmp_path / "used", set())
    assert triton_cache.count(tmp_path / "used") == 0 and (tmp_path / "used" / "LAUNCHER").exists()


def test_triton_finds_the_carried_kernels(tmp_path):
    """Made for sm_90 without a GPU, carried to another folder, and looked up by another process."""
    pytest.importorskip("triton", reason="triton is not installed")

    def run(folder: Path) -> str:
        environment = environment_of_a_program(ROOT / "benchmarks", TRITON_CACHE_DIR=str(folder), OMP_NUM_THREADS="1")
        environment.pop("TRITON_INTERPRET", None)
        command = [sys.executable, "-W", "ignore", "-m", "gpu.triton_cache", "--only", "parity: confidence"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "1 kernels of 1 calls, 1 compiled, 0 there already; 0 calls failed" in run(tmp_path / "made")
    triton_cache.pack(tmp_path / "made", tmp_path / "packed")
    triton_cache.unpack(tmp_path / "packed", tmp_path / "used")
    assert list((tmp_path / "used").glob("*/cuda_utils*.so")), "what loads kernels needs a C compiler, too"
    (tmp_path / "made").rename(tmp_path / "gone")
    assert "1 kernels of 1 calls, 0 compiled, 1 there already; 0 calls failed" in run(tmp_path / "used")


# --- CUB's selection: all of it but the calls


@pytest.mark.parametrize(
    ("score", "n_points", "function", "words"),
    [
        (torch.rand(1, 1, 8, 8).double(), 3, cub_topk.topk, "float32"),
        (torch.rand(1, 1, 8, 16)[..., ::2], 3, cub_topk.topk, "contiguous"),
        (torch.rand(2, 1, 8, 8), 3, cub_topk.topk_ordered, "one image"),
        (torch.rand(1, 1, 8, 8), 65, cub_topk.topk, "1 to 64"),
        (torch.rand(1, 1, 8, 8), 0, cub_topk.topk_ordered, "1 to 64"),
        (torch.rand(2, 1, 8, 8), 3, cub_topk.batched_topk, "64 x 64"),
    ],
)
def test_cub_refuses_what_it_cannot_take(score, n_points, function, words):
    with pytest.raises(ValueError, match=words):
        function(score, n_points)


def test_cub_that_is_not_there_is_said(tmp_path, monkeypatch):
    cub_topk.library.cache_clear()
    monkeypatch.setenv("GPU_CUB_LIBRARY", str(tmp_path / "libcub_topk.so"))
    assert "is not there; benchmarks/gpu_prebuild.sh makes it" in str(cub_topk.why_not())
    (tmp_path / "libcub_topk.so").write_text("no library")
    assert "CUB's selection is not there" in str(cub_topk.why_not())
    cub_topk.library.cache_clear()


def test_cub_errors_are_raised_and_memory_is_asked_for_once(monkeypatch):
    """A library that only pretends: it asks for 100 bytes, gets them, and fails on the third call."""
    calls: list[int | None] = []

    def function(memory: int | None, size: Any, *_: Any) -> int:
        calls.append(memory)
        if memory is None:
            size._obj.value = 100
        return 700 if len(calls) == 3 else 0

    class Library:
        magnet_cub_topk = staticmethod(function)

    monkeypatch.setattr(cub_topk, "library", Library)
    monkeypatch.setattr(cub_topk, "_memory", {})
    score = torch.rand(1, 1, 8, 8)
    points = cub_topk.topk(score, 5)
    assert points.shape == (1, 5) and points.dtype == torch.int32
    assert calls[0] is None and calls[1] == next(iter(cub_topk._memory.values())).data_ptr()
    with pytest.raises(RuntimeError, match="CUDA error 700"):
        cub_topk.topk(score, 5)
    assert len(calls) == 3
