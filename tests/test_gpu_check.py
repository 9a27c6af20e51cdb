"""benchmarks/gpu_check.sh and the programs of benchmarks/gpu: all of it but the GPU."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import awkward, measure
from gpu.__main__ import NO_GPU_RESULT, main
from gpu.cases import SMOKE, all_cases
from live import environment_of_a_program
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"


# --- the programs


def test_the_kernels_need_nothing_of_the_model_layer():
    program = "import sys, gpu.__main__, gpu.awkward; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    environment = environment_of_a_program(ROOT / "benchmarks")
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "magnet_kernels" in loaded
    assert not loaded & {"magnet", "jsonargparse", "safetensors", "matplotlib", "pytest", "triton"}


def test_the_whole_program_on_a_cpu(tmp_path, capsys):
    """Tiny maps, some of the cases: each result is compared there, too. Its figures say nothing about a GPU."""
    smoke(tmp_path, capsys, "--only", "19x32x64 bfloat16")


@pytest.mark.slow
def test_every_case_on_a_cpu(tmp_path, capsys):
    smoke(tmp_path, capsys)


def smoke(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    assert main(["--device", "cpu", "--smoke", "--no-compile", "--out", str(folder), *arguments]) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert printed[0] == printed[-1] == NO_GPU_RESULT
    content = json.loads((folder / "results.json").read_text())
    assert content["failed"] == []
    assert content["environment"]["warning"] == NO_GPU_RESULT and "CPU" in content["environment"]["gpu"]
    cases = {case.key for case in all_cases("cpu", SMOKE) if not arguments or arguments[-1] in case.key}
    assert {entry["case"] for entry in content["results"]} == cases
    assert all(entry["fraction"] > 0 and entry["kernel_us"] > 0 for entry in content["results"])
    with (folder / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(content["results"])
    with Image.open(folder / "floor.png") as image:
        image.load()


def test_time_that_ran_out_is_said(tmp_path, capsys):
    arguments = ["--device", "cpu", "--smoke", "--no-compile", "--seconds", "-1", "--out", str(tmp_path)]
    assert main(arguments) == 1  # nothing was measured
    content = json.loads((tmp_path / "results.json").read_text())
    assert len(content["skipped"]) == len(all_cases("cpu"))
    assert all("time ran out" in entry["reason"] for entry in content["skipped"])
    assert "time ran out" in capsys.readouterr().out


def test_a_cpu_is_not_measured_by_mistake(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--device", "cpu", "--out", str(tmp_path)])
    assert exit.value.code == 2 and "--smoke" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "new")]) == 3
    assert "no GPU" in capsys.readouterr().out and not (tmp_path / "new").exists()


def test_awkward_shapes_on_a_cpu(capsys, monkeypatch):
    missing = [name for name, states in measure.available_backends().items() if states["cpu"] != "ok"]
    monkeypatch.setattr(awkward, "SHAPES", awkward.SHAPES[1:3])
    assert awkward.main(["--backend", "cpu"]) == bool(missing)
    assert " 0 wrong" in capsys.readouterr().out


def test_awkward_shapes_find_what_is_wrong(capsys, monkeypatch):
    right = awkward.mk.confidence

    def wrong(x: torch.Tensor, *, backend: str, **options: Any) -> torch.Tensor:
        return right(x, backend="reference", **options) + (0.01 if backend == "cpu" else 0)

    monkeypatch.setattr(awkward, "available_backends", lambda: {"confidence": {"cpu": "ok"}})
    monkeypatch.setattr(awkward, "SHAPES", awkward.SHAPES[1:2])
    monkeypatch.setattr(awkward, "on_points", lambda *_: ())
    monkeypatch.setattr(awkward, "on_patches", lambda *_: ())
    monkeypatch.setattr(awkward, "on_scores", lambda x, *_: [("confidence", "", wrong, {"x": x}, True)])
    assert awkward.main(["--backend", "cpu"]) == 1
    assert "WRONG: confidence" in capsys.readouterr().out
    monkeypatch.setattr(awkward, "available_backends", lambda: {"confidence": {"cpu": "made up reason"}})
    assert awkward.main(["--backend", "cpu"]) == 1
    assert "made up reason" in capsys.readouterr().out


# --- the script


def script(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=300)


def test_script_is_bash():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_script_without_a_gpu(tmp_path):
    run = script(OUT=str(tmp_path / "new"))
    assert run.returncode == 3
    assert run.stdout.count("\n") == 1 and run.stdout.startswith("gpu_check: no GPU here") and not run.stderr
    assert not (tmp_path / "new").exists()


def test_script_without_torch(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    run = script(PYTHON=str(python))
    assert run.returncode == 1 and "torch cannot be imported" in run.stderr


# Stands in for python, so that the script's own course can be followed: it says what was run, and fails where told to.
STAND_IN = """#!/bin/bash
echo "$*" >> "$RECORD"
case "$*" in
  -) cat > /dev/null; echo "9.0 Made Up GPU" ;;
  setup.py*) [ "$TORCH_CUDA_ARCH_LIST $MAGNET_CUDA" = "9.0 1" ] || exit 1; [ "$FAIL" != build ] ;;
  *"-m pytest tests/test_gpu.py"*) echo "3 passed" ;;
  *"-m pytest tests/test_refine_step.py"*) echo "12 passed in 1 s"; [ "$FAIL" != tests ] ;;
  *"-m pytest"*) echo "no tests ran"; exit 5 ;;
  *gpu.awkward*) echo "runs of backend cuda"; [ "$FAIL" != awkward ] ;;
  *compile-only*) exit 1 ;;
  *gpu\\ --out*) [ "$FAIL" = hang ] && sleep 60; echo "made up table"; exit "${BENCHMARK:-0}" ;;
esac
"""
SANITIZER = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do case "$1" in --tool | --error-exitcode | --report-api-errors) shift ;; esac; shift; done
[ "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 ] && "$@"
"""


@pytest.fixture
def stand_ins(tmp_path) -> Callable[..., tuple[subprocess.CompletedProcess[str], str, Path]]:
    """Runs the script with programs that only pretend: (what came, what was run, the folder of results)."""
    for name, text in (("python", STAND_IN), ("compute-sanitizer", SANITIZER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(**variables: str) -> tuple[subprocess.CompletedProcess[str], str, Path]:
        out, record = tmp_path / "out", tmp_path / "record"
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        given = {"PYTHON": str(tmp_path / "python"), "PATH": path, "OUT": str(out), "RECORD": str(record), **variables}
        return script(**given), record.read_text(), out

    return run


def test_script_runs_every_step(stand_ins):
    run, record, out = stand_ins()
    assert run.returncode == 0, run.stdout
    for step in ("build", "tests on CUDA", "tests on Triton", "memcheck", "racecheck", "initcheck", "benchmarks"):
        assert f"ok         {step}" in run.stdout
    assert record.count("gpu.awkward") == 3 and "compile-only" in record
    assert "made up table" in run.stdout and "12 passed" in run.stdout
    files = {path.name for path in out.iterdir()}
    assert files == {"build.log", "tests.log", "sanitizer.log", "benchmark.log", "summary.txt"}
    tested = [line for line in record.splitlines() if "-m pytest" in line]
    for chosen in ("cuda and not cuda_host", "triton and not large"):
        assert sum(f"-k {chosen}" in line for line in tested) > 5
    assert all("cuda and not" in line or "triton and not" in line for line in tested if "test_gpu.py" not in line)
    assert not any("test_train" in line or "test_cli" in line or "gpu_check" in line for line in tested)


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"FAIL": "tests"}, 1, "FAILED     tests on CUDA"),
        ({"FAIL": "awkward"}, 1, "FAILED     racecheck"),
        ({"BENCHMARK": "1"}, 1, "FAILED     benchmarks"),
        ({"BENCHMARK": "2"}, 2, "some figure is not reached"),
    ],
)
def test_script_goes_on_and_tells(stand_ins, variables, code, said):
    run, record, _ = stand_ins(**variables)
    assert run.returncode == code and said in run.stdout
    assert "gpu --out" in record


def test_script_stops_where_nothing_was_built(stand_ins):
    run, record, _ = stand_ins(FAIL="build")
    assert run.returncode == 1 and "the build failed" in run.stdout
    assert "-m pytest" not in record and "gpu --out" not in record
