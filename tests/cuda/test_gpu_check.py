"""benchmarks/gpu_check.sh and the programs of benchmarks/gpu: all of it but the GPU."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import awkward, launches, measure, parity
from gpu import live as live_here
from gpu.__main__ import NO_GPU_RESULT, main, options, write
from gpu.cases import SMOKE, all_cases
from gpu.results import Report
from live import environment_of_a_program, live
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"


# --- the programs


def test_the_kernels_need_nothing_of_the_model_layer():
    program = "import sys, gpu.__main__, gpu.awkward, gpu.parity, gpu.launches\n"
    program += "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    environment = environment_of_a_program(ROOT / "benchmarks")
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "magnet_kernels" in loaded
    assert not loaded & {"magnet", "pydantic", "safetensors", "matplotlib", "pytest", "triton", "PIL"}


def test_the_whole_program_on_a_cpu(tmp_path, capsys):
    """Tiny maps, some of the cases: each result is compared there, too. Its figures say nothing about a GPU."""
    smoke(tmp_path, capsys, "--only", "_ 1x19x16x32 bfloat16")


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


def test_without_pillow_there_is_no_picture(tmp_path, monkeypatch):
    """Pillow is of the model layer: a machine for kernels need not have it."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "gpu.picture", raising=False)
    write(Report(), tmp_path, "cpu", "made up")
    assert {path.name for path in tmp_path.iterdir()} == {"results.csv", "results.json"}


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
    monkeypatch.setattr(awkward, "LARGE", awkward.LARGE[:1])
    assert awkward.main(["--backend", "cpu"]) == bool(missing)
    assert " 0 wrong" in capsys.readouterr().out
    assert awkward.main(["--backend", "cpu", "--seconds", "-1"]) == 1
    assert "0 runs of backend cpu" in (printed := capsys.readouterr().out) and "left out for time" in printed


def test_large_awkward_shapes_reach_what_many_blocks_do():
    """Only past this many pixels count_candidates, list_tiles and the counts of KeySink run; and keys with a tail."""
    rule = re.search(r"pixels\(\) <= \(1 << (\d+)\)", (ROOT / "csrc" / "cuda" / "parts" / "selection.h").read_text())
    pixels = [shape[2] * shape[3] for shape, _ in awkward.LARGE]
    assert all(count > 1 << int(rule[1]) for count in pixels)
    assert {count % 4 for count in pixels} == {1, 3}
    names = [run.operator for run in awkward.large_runs()]
    assert {"refine_step_", "refine_step", "select_points", "refine_stage_labels"} == set(names)


def test_skipped_tests_are_not_passed_ones(capsys):
    states = measure.available_backends()["refine_step"]
    for backend in ("cuda", "cpu"):
        assert live_here.main([backend]) == (states[backend] != "ok")
        assert ("is not live" in capsys.readouterr().out) == (states[backend] != "ok")


def test_telling_cases(capsys):
    missing = [name for name, states in measure.available_backends().items() if states["cpu"] != "ok"]
    assert parity.main(["--backend", "cpu"]) == bool(missing)
    assert "10 telling cases on backend cpu, 0 wrong" in capsys.readouterr().out


def test_telling_cases_find_what_is_wrong(capsys, monkeypatch):
    def wrong(x: torch.Tensor, *, backend: str) -> torch.Tensor:
        if backend == "cpu" and x.shape[0] > 1:
            raise RuntimeError("made up\nwith more lines")
        return x + (backend == "cpu")

    runs = [awkward.Run("confidence", "", wrong, {"x": torch.zeros(n, 2, 3, 4)}, True) for n in (1, 2)]
    monkeypatch.setattr(parity, "runs", lambda: iter(runs))
    monkeypatch.setattr(parity, "missing_operators", lambda backend: {})
    assert parity.main(["--backend", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert (
        "confidence: WRONG: 24 of 24 values differ" in printed
        and "confidence: WRONG: RuntimeError: made up\n" in printed
    )


def test_awkward_shapes_find_what_is_wrong(capsys, monkeypatch):
    right = awkward.mk.confidence

    def wrong(x: torch.Tensor, *, backend: str, **options: Any) -> torch.Tensor:
        return right(x, backend="reference", **options) + (0.01 if backend == "cpu" else 0)

    monkeypatch.setattr(awkward, "available_backends", lambda: {"confidence": {"cpu": "ok"}})
    monkeypatch.setattr(awkward, "SHAPES", awkward.SHAPES[1:2])
    monkeypatch.setattr(awkward, "on_points", lambda *_: ())
    monkeypatch.setattr(awkward, "on_patches", lambda *_: ())
    monkeypatch.setattr(awkward, "large_runs", lambda: ())
    monkeypatch.setattr(awkward, "on_scores", lambda x, *_: [awkward.Run("confidence", "", wrong, {"x": x}, True)])
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
  *-) cat > /dev/null; echo "9.0 Made Up GPU" ;;
  *gpu.prebuilt\\ use*)
    [ "$CARRIED" = 1 ] && { echo "carried: made up"; exit; }
    echo "no carried build is used: made up"
    exit 1 ;;
  setup.py*) [ "$TORCH_CUDA_ARCH_LIST $MAGNET_CUDA" = "9.0 1" ] || exit 1; [ "$FAIL" != build ] ;;
  *gpu.parity*)
    [ "$FAIL" = hang ] && { echo "refine_step_: "; exec sleep 60; }
    echo "10 telling cases"
    [ "$FAIL" != parity ] ;;
  *gpu.counters*) echo "metric,metric" ;;
  *gpu.live*) [ "$FAIL" != live ] || { echo "backend is not live: made up"; exit 1; } ;;
  *gpu.whole*) echo "0 wrong"; [ "$FAIL" != whole ] ;;
  *gpu.launches*) echo "launches"; [ "$FAIL" != launches ] ;;
  *xdist*) exit 1 ;;
  *"-m pytest"*test_gpu.py*) echo "3 passed in 1 s" ;;
  *"-m pytest"*) echo "12 passed in 1 s"; [ "$FAIL" != tests ] ;;
  *gpu.awkward*) echo "9 runs of backend cuda"; [ "$FAIL" != awkward ] ;;
  *gpu.summary*) [ "$FAIL" = summary ] && exit 1; cat "${@: -2:1}"; echo "${@: -1}"; exit "${MISSED:-0}" ;;
  *gpu\\ --out*) echo "made up table"; [ "$FAIL" != benchmark ] ;;
esac
"""
# The others start what they are given, after their own options.
OTHERS = {
    "compute-sanitizer": """#!/bin/bash
while [ "${1#-}" != "$1" ]; do
  case "$1" in --tool | --error-exitcode | --report-api-errors) shift ;; esac
  shift
done
[ "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 ] && "$@" && echo "ERROR SUMMARY: 0 errors"
""",
    "ncu": """#!/bin/bash
while [ "$1" != "$PYTHON" ]; do [ "$1" = --log-file ] && csv=$2; shift; done
printf '==PROF== Connected to process 641\n"ID","Process ID","Kernel Name"\n"","",""\n' > "$csv"
[ "$FAIL" = ncu ] || printf '"%s","641","void score_planes<float, 0, 4, 19>(ScoreViews<T1>, PixelGrid)"\n' 0 1 >> "$csv"
"$@"
""",
    "nvcc": "#!/bin/bash\n",
    # what each step is allowed, and that it is ended in time
    "timeout": """#!/bin/bash
[ "$1" = -s ] && echo "LIMIT $5 $2 ${*:6}" >> "$RECORD"
exec "$REAL_TIMEOUT" "$@"
""",
}
# In this order; those of a set beside each other.
COURSE: list[set[str]] = [
    {"build"},
    {"telling cases"},
    {"kernel times"},
    {"launches"},
    {"counters"},
    {"rivals"},
    {"memcheck", "racecheck", "tests of the GPU"},
    {"all of MagNet"},
    {"operators on CUDA"},
    {"Triton", "initcheck"},
    {"more cases"},
    {"operators on Triton"},
]
STEPS = set().union(*COURSE)


class Course:
    """What a run of the script printed, ran and left."""

    def __init__(self, run: subprocess.CompletedProcess[str], record: str, out: Path) -> None:
        self.code, self.printed, self.record, self.out = run.returncode, run.stdout, record, out
        lines = [
            re.match(r"(ok|FAILED|TIMED OUT|LEFT OUT) +(\S.*?) +\d+ s  (.*)", line)
            for line in self.printed.splitlines()
        ]
        self.states = {match[2]: match[1] for match in lines if match}
        self.words = {match[2]: match[3] for match in lines if match}
        self.order = list(dict.fromkeys(match[2] for match in lines if match))

    def limits(self) -> dict[str, float]:
        """What was run, and the seconds that it was allowed."""
        found = re.findall(r"LIMIT (\S+) \w+ (.*)", self.record)
        return {command: float(seconds) for seconds, command in found}

    def limit(self, words: str) -> float:
        return next(seconds for command, seconds in self.limits().items() if words in command)


@pytest.fixture
def follow(tmp_path) -> Callable[..., Course]:
    """Runs the script with programs that only pretend."""
    for name, text in {"python": STAND_IN, **OTHERS}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(**variables: str) -> Course:
        out, record = tmp_path / "out", tmp_path / "record"
        given = {
            "PYTHON": str(tmp_path / "python"),
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "REAL_TIMEOUT": str(shutil.which("timeout")),
            "OUT": str(out),
            "RECORD": str(record),
            "GPU_PREBUILT": str(tmp_path / "prebuilt"),
        }
        return Course(script(**given, **variables), record.read_text(), out)

    return run


def test_course(follow):
    course = follow()
    assert course.code == 0, course.printed
    assert course.states == dict.fromkeys(STEPS, "ok")
    order = iter(course.order)
    for group in COURSE:
        assert {next(order) for _ in group} == group
    assert course.words["build"] == "built for compute capability 9.0: no carried build is used: made up"
    assert course.words["memcheck"].startswith("9 runs of backend cuda") and "0 errors" in course.words["memcheck"]
    assert course.words["operators on CUDA"] == "12 passed in 1 s" and course.words["counters"] == "2 kernels"
    assert course.printed.rstrip().endswith("s in all"), "the summary comes last"
    assert {path.name for path in course.out.iterdir()} == {"summary.txt", "log.txt", "ncu.csv"}
    log = (course.out / "log.txt").read_text()
    assert all(f"===== {step}\n" in log for step in STEPS)


def test_limits_of_the_course(follow):
    course = follow()
    assert course.limit("gpu.parity") == 30
    assert len(course.limits()) >= len(STEPS) - 1, "every step has a limit"
    assert max(course.limits().values()) <= 200
    for words, least in (("--ours-only", 35), ("--cases targets --join", 80), ("sanitize memcheck 40", 40)):
        assert course.limit(words) > least, "a program that minds the time by itself ends before it is ended"
    assert course.limit("tests/operators/test_refine_step.py") == 75
    assert re.search(r"LIMIT \S+ INT .*test_refine_step.py", course.record), "interrupted tests say how far they came"


def test_course_ends_in_time(follow):
    course = follow(GPU_CHECK_SECONDS="40")
    assert max(course.limits().values()) <= 32
    course = follow(GPU_CHECK_SECONDS="9")
    assert course.code == 0 and set(course.states.values()) == {"LEFT OUT"}
    assert "no time was left" in course.words["rivals"]


def test_programs_understand_what_the_course_says(follow, tmp_path, capsys):
    commands = [
        line.split(" -m ", 1)[1].split()
        for line in follow().record.splitlines()
        if " -m gpu" in line and line[0] == "-"
    ]
    assert {command[0] for command in commands} >= {"gpu", "gpu.launches", "gpu.awkward", "gpu.parity", "gpu.prebuilt"}
    for module, *arguments in commands:
        if module == "gpu":
            assert options(arguments).no_judging
        if module == "gpu.launches" and "cuda" not in live("refine_step_"):
            assert launches.main(arguments) == 1 and "not live" in capsys.readouterr().out


def test_kernels_are_tested_without_the_model_layer(follow):
    tested = [line for line in follow().record.splitlines() if "-m pytest" in line and "test_gpu.py" not in line]
    for chosen in ("cuda tests/", "triton and not large"):
        line = next(line for line in tested if f"-k {chosen}" in line)
        assert line.count("tests/operators/test_") > 10 and "tests/operators/test_replace_points.py" in line
        assert not re.search("test_(train|cli|model|gpu|cuda_|ptx_|install)", line)
        assert line.count("test_refine_step.py") == 1


def test_carried_build_is_used(follow):
    course = follow(CARRIED="1")
    assert course.code == 0 and course.words["build"] == "carried: made up"
    assert "setup.py" not in course.record


@pytest.mark.parametrize(
    ("fails", "steps"),
    [
        ("build", {"build"}),
        ("parity", {"telling cases", "Triton"}),
        ("launches", {"launches", "counters"}),
        ("ncu", {"counters"}),  # which says nothing of any kernel
        ("whole", {"all of MagNet"}),
        ("tests", {"operators on CUDA", "operators on Triton"}),
        ("live", {"tests of the GPU", "operators on CUDA", "operators on Triton"}),
        ("awkward", {"memcheck", "racecheck", "initcheck"}),
        ("benchmark", {"kernel times", "rivals", "more cases"}),
    ],
)
def test_a_step_that_fails_costs_only_itself(follow, fails, steps):
    course = follow(FAIL=fails)
    assert course.code == 1
    assert course.states == {step: "FAILED" if step in steps else "ok" for step in STEPS}


def test_a_kernel_that_hangs(follow):
    """The telling cases say which; what comes after has its own time."""
    course = follow(FAIL="hang", GPU_CHECK_SCALE="0.06")
    assert course.code == 1
    assert course.states["telling cases"] == "TIMED OUT" and course.words["telling cases"] == "refine_step_: "
    assert course.states["kernel times"] == course.states["memcheck"] == course.states["more cases"] == "ok"


def test_figures_that_are_not_reached(follow):
    assert follow(MISSED="2").code == 2
    assert follow(MISSED="2", FAIL="tests").code == 1


def test_without_a_summary_the_steps_are_said(follow):
    course = follow(FAIL="summary")
    assert course.code == 1
    assert "operators on Triton" in (course.out / "summary.txt").read_text()
