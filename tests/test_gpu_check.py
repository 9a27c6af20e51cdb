"""benchmarks/gpu_check.sh and benchmarks/gpu: all of it but the GPU. Every time in here is made up."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu import arithmetic, awkward, compare, inputs, measure
from gpu.__main__ import NO_GPU_RESULT, main
from gpu.arithmetic import Times, percentile
from gpu.case import Case
from gpu.cases import SMOKE, all_cases
from gpu.clock import BETWEEN_EVENTS, FLUSH, GRAPH_REPLAY, CudaClock
from gpu.measure import DeviceLost, Inputs, Measurement
from gpu.picture import BARS, COLOURS, LABELS, LINE, TOP, draw, write_png
from gpu.results import MISSED, OPEN, REACHED, Report, Row, judge, table, write_csv, write_json
from live import environment_of_a_program
from PIL import Image
from targets import GPU_TARGETS, GpuTarget

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"


# --- arithmetic


@pytest.mark.parametrize(
    ("values", "p", "expected"), [([3.0], 80, 3.0), ([4.0, 1.0, 3.0, 2.0, 5.0], 50, 3.0), ([0.0, 10.0], 20, 2.0)]
)
def test_percentile(values, p, expected):
    assert percentile(values, p) == pytest.approx(expected)


def test_times_are_ordered_whatever_came_first():
    assert Times.of([5.0, 1.0, 4.0, 2.0, 3.0, 6.0]) == Times(3.5, 2.0, 5.0, 6)


@pytest.mark.parametrize(("one", "rounds"), [(1.0, 1), (0.2, 3), (0.01, 10), (0.0, 50)])
def test_rounds_fit_the_budget(one, rounds):
    assert arithmetic.rounds_for(one, 0.1, 3, 50) == rounds


def test_bytes_of_the_case_that_counts():
    """What DESIGN counts: both maps once, 319 MB in fp32 and 159 MB in bf16; then the points."""
    shape = (1, 19, 1024, 2048)
    assert round(arithmetic.refine_bytes(shape, 4, 0, in_place=True) / 1e6) == 319
    assert round(arithmetic.refine_bytes(shape, 2, 0, in_place=True) / 1e6) == 159
    points = arithmetic.refine_bytes(shape, 4, 65536, in_place=True) - arithmetic.refine_bytes(
        shape, 4, 0, in_place=True
    )
    assert points == 65536 * (19 * 4 + 8)


def test_fraction_of_the_floor():
    assert arithmetic.fraction_of_floor(4_000, 1_000.0, 8.0) == pytest.approx(0.5)


def tensors(values: Any) -> list[torch.Tensor]:
    return [x for x in (values if isinstance(values, (tuple, list)) else [values]) if isinstance(x, torch.Tensor)]


def of_one_pass(case: Case) -> bool:
    """Every argument is read once and every result written once, so that their sizes are the bytes that must move."""
    return case.operator not in ("refine_step_", "replace_points_", "replace_points", "refine_stage") and not (
        case.operator == "refine_stage_labels" and "from_logits" in case.name
    )


@pytest.mark.parametrize("case", [c for c in all_cases("cpu", SMOKE) if of_one_pass(c)], ids=lambda case: case.key)
def test_bytes_are_those_of_the_tensors(case):
    arguments = case.make(0)
    if case.operator == "refine_stage_labels":
        arguments = arguments[:2]  # the rest are boxes and, for rivals, what is stitched
    results = tensors(case.ours("reference")(*case.make(0)))
    boxes = (
        0
        if case.operator == "refine_stage_labels"
        else sum(x.nbytes for x in tensors(arguments) if x.shape[-1:] == (5,))
    )
    listed = 8 * case.n_points * case.shape[0] if case.operator == "refine_step" else 0  # points are not returned
    moved = sum(x.nbytes for x in (*tensors(arguments), *results)) - boxes
    assert moved + listed == case.bytes_moved


def test_cases_differ_and_hold_every_figure_to_reach():
    keys = [case.key for case in all_cases("cpu")]
    assert len(set(keys)) == len(keys)
    rivals = {case.key: {*case.rivals, *case.combined} for case in all_cases("cpu")}
    for target in GPU_TARGETS:
        assert target.case in keys
        if target.kind == "times the case":
            assert target.other in keys
        elif target.other:
            assert any(name.startswith(target.other) for name in rivals[target.case])


def test_cases_cover_what_was_asked_for():
    cases = all_cases("cpu")
    operators = {case.operator for case in cases}
    assert operators == {name for name in measure.available_backends() if not name.endswith(("_backward", "_out"))}
    refine = [case for case in cases if case.operator == "refine_step_"]
    assert {case.shape[1] for case in refine} >= {2, 7, 19, 150}
    assert {case.shape[2:] for case in refine} >= {(512, 1024), (1024, 2048), (8192, 8192)}
    shares = {round(case.n_points / (case.shape[2] * case.shape[3]), 2) for case in refine}
    assert min(shares) == 0.01 and max(shares) == 0.9
    assert {case.scores for case in refine} == {"clustered", "scattered", "flat"}
    assert {str(case.dtype) for case in refine} == {"torch.float32", "torch.bfloat16"}


# --- inputs


@pytest.mark.parametrize("kind", ["clustered", "scattered", "flat"])
def test_inputs_are_random_probabilities(kind):
    a, b = (inputs.probabilities((1, 5, 40, 70), seed, "cpu", kind) for seed in (1, 2))
    torch.testing.assert_close(a.sum(dim=1), torch.ones(1, 40, 70))
    assert bool((a > 0).all()) and not torch.equal(a, b)
    assert torch.equal(a, inputs.probabilities((1, 5, 40, 70), 1, "cpu", kind))
    assert (a.flatten(2).std(dim=2).max() == 0) == (kind == "flat")


# --- comparisons: each must refuse a wrong result


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    return inputs.probabilities((1, 3, 40, 60), 1, "cpu"), inputs.probabilities((1, 3, 40, 60), 2, "cpu")


def first_pixels(coarse: torch.Tensor, fine: torch.Tensor, start: int, count: int) -> torch.Tensor:
    result = coarse.clone()
    result.flatten(2)[..., start : start + count] = fine.flatten(2)[..., start : start + count]
    return result


def accepts(same: Callable[..., None], theirs: Any, expected: Any, arguments: tuple[Any, ...] = ()) -> bool:
    try:
        same(theirs, expected, arguments)
    except AssertionError as error:
        assert str(error), "an error says what differs"
        return False
    return True


def test_identical_and_close():
    x = maps()[0]
    nudged = x.clone()
    nudged[0, 0, 0, 0] += 1e-4
    assert accepts(compare.identical, x, x.clone()) and not accepts(compare.identical, nudged, x)
    assert not accepts(compare.identical, x.double(), x)
    assert accepts(compare.close(1e-3), nudged, x) and not accepts(compare.close(1e-5), nudged, x)
    assert not accepts(compare.close(1.0), x * float("nan"), x)
    covered = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert accepts(compare.close(0), (x, covered), (x, covered)) and not accepts(
        compare.close(1), (x, ~covered), (x, covered)
    )


def test_few_pixels():
    coarse, fine = maps()
    expected = first_pixels(coarse, fine, 0, 500)
    assert accepts(compare.few_pixels, first_pixels(coarse, fine, 3, 500), expected)
    assert not accepts(compare.few_pixels, first_pixels(coarse, fine, 20, 500), expected)
    assert not accepts(compare.few_pixels, expected * float("inf"), expected)
    assert accepts(compare.few_pixels_within(1e-3), expected + 1e-4, expected)
    assert not accepts(compare.few_pixels_within(1e-5), expected + 1e-4, expected)


def test_flat_and_half_precision():
    coarse, fine = maps()
    arguments, expected = (coarse, fine), first_pixels(coarse, fine, 0, 500)
    assert accepts(compare.as_many_replaced, first_pixels(coarse, fine, 900, 500), expected, arguments)
    assert not accepts(compare.as_many_replaced, first_pixels(coarse, fine, 900, 499), expected, arguments)
    assert not accepts(compare.as_many_replaced, first_pixels(coarse, fine * 1.01, 900, 500), expected, arguments)
    assert accepts(compare.mostly_the_same_points, first_pixels(coarse, fine, 100, 500), expected, arguments)
    assert not accepts(compare.mostly_the_same_points, first_pixels(coarse, fine, 300, 500), expected, arguments)
    assert not accepts(compare.mostly_the_same_points, first_pixels(coarse, fine * 1.01, 0, 500), expected, arguments)


def test_same_scores():
    score = torch.tensor([[[[0.1, 0.7, 0.7, 0.9]]]])
    expected = torch.tensor([[1, 3]])
    for points, good in (([[3, 2]], True), ([[3, 0]], False), ([[3, 3]], False), ([[3]], False)):
        assert accepts(compare.same_scores, torch.tensor(points), expected, (score,)) == good


# --- the clock of a GPU, on a device that only pretends


class MadeUpDevice:
    """Stands in for torch.cuda: keeps what was done in order, and says that every pair of events is 2 ms apart."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.strict = self.capturing = False
        device = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                device.done.append("event")

            def elapsed_time(self, other: Event) -> float:
                return 2.0

        class Graph:
            def replay(self) -> None:
                device.done.append("replay")

        @contextlib.contextmanager
        def graph(held: Graph, pool: object, capture_error_mode: str) -> Any:
            self.capturing = True
            yield
            self.capturing = False

        replaced = {
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": graph,
            "graph_pool_handle": object,
            "synchronize": lambda: None,
            "empty_cache": lambda: None,
            "mem_get_info": lambda: (2**20, 2**21),
            "get_device_properties": lambda index: SimpleNamespace(L2_cache_size=2**20),
            "get_sync_debug_mode": lambda: 0,
            "set_sync_debug_mode": lambda mode: setattr(self, "strict", mode == "error"),
        }
        for name, value in replaced.items():
            assert hasattr(torch.cuda, name)
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(CudaClock, "device", "cpu")

    def call(self) -> None:
        self.done.append("capture" if self.capturing else "call")

    def waiting_call(self) -> None:
        if self.strict:
            raise RuntimeError("called a synchronizing CUDA operation")
        self.call()


@pytest.fixture
def device(monkeypatch) -> MadeUpDevice:
    return MadeUpDevice(monkeypatch)


@pytest.fixture
def gpu_clock(device, monkeypatch) -> CudaClock:
    clock = CudaClock()
    assert clock.flushed.nbytes >= FLUSH and float(clock.flushed.max()) > 0
    monkeypatch.setattr(clock, "flush", lambda: device.done.append("flush"))
    return clock


def test_kernel_time_is_that_of_replays_after_reset_and_flush(device, gpu_clock):
    resets = [lambda: device.done.append("reset 0"), lambda: device.done.append("reset 1")]
    times, method = gpu_clock.kernel([device.call, device.call], resets, 1.0)
    assert method == GRAPH_REPLAY and times == Times(0.002, 0.002, 0.002, 50)
    assert device.done[:4] == ["call", "reset 0", "capture", "capture"] and not device.strict
    rounds = device.done[4:]
    turns = [rounds[i : i + 5] for i in range(0, len(rounds), 5)]
    assert len(turns) == 52  # two to warm up
    for index, turn in enumerate(turns[2:]):
        assert turn == [f"reset {index % 2}", "flush", "event", "replay", "event"]


def test_code_that_waits_for_the_device_is_timed_without_a_graph(device, gpu_clock):
    times, method = gpu_clock.kernel([device.waiting_call], [lambda: None], 1.0)
    assert method == BETWEEN_EVENTS and times.median == 0.002
    assert "replay" not in device.done and not device.strict


def test_call_time_is_the_hosts(device, gpu_clock):
    times = gpu_clock.call([device.call], [lambda: None], 0.01)
    assert 0 < times.p20 <= times.median <= times.p80
    assert device.done[:4] == ["flush", "call", "flush", "call"] and "event" not in device.done


def test_copy_bandwidth_counts_bytes_read_and_written(device, gpu_clock):
    assert gpu_clock.bandwidth(4096) == pytest.approx(2 * 4096 / 0.002)
    assert gpu_clock.bandwidth() == pytest.approx(2 * 2**18 / 0.002)  # a quarter of the memory that is free
    assert gpu_clock.empty_replay() == 0.002


# --- measuring, with a clock that makes its times up


class MadeUpClock:
    """Takes no time: every call is said to take a microsecond more than the one before."""

    device, is_gpu = "cpu", False

    def __init__(self, memory: int = 2**40) -> None:
        self.memory, self.timed, self.lost = memory, 0, False

    def kernel(self, calls: Sequence[Callable[[], Any]], resets: Any, seconds: float) -> tuple[Times, str]:
        calls[0]()
        self.timed += 1
        return Times(self.timed * 1e-6, 1e-6, 1e-3, 7), GRAPH_REPLAY

    def call(self, calls: Sequence[Callable[[], Any]], resets: Any, seconds: float) -> Times:
        return Times(1.0, 1.0, 1.0, 3)

    def bandwidth(self) -> float:
        return 1e9

    def empty_replay(self) -> float:
        return 2e-6

    def synchronize(self) -> None:
        if self.lost:
            raise RuntimeError("made up: illegal memory access\nsecond line")

    def free(self) -> int:
        return self.memory


@pytest.fixture
def doubling(monkeypatch) -> Case:
    """In place, x becomes 2 x: on backend "cpu" right, and by three rivals, of which one is wrong and one fails."""
    monkeypatch.setattr(measure, "live_backends", lambda operator, device: ["cpu"])

    def fails(x: torch.Tensor) -> torch.Tensor:
        x.zero_()
        raise ValueError("made up\nwith more lines")

    return Case(
        name="doubling",
        operator="confidence",
        shape=(1, 2, 3, 4),
        dtype=torch.float32,
        bytes_moved=5_000,
        memory=96,
        make=lambda seed: (torch.full((1, 2, 3, 4), seed + 1.0),),
        ours=lambda backend: lambda x: x.mul_(2),
        same=compare.identical,
        rivals={"eager": lambda x: x.add_(x), "wrong": lambda x: x.mul_(3), "fails": fails, "compile": lambda x: x},
        in_place=True,
    )


def measured(case: Case, clock: MadeUpClock) -> Report:
    report = Report()
    Measurement(clock, report, compile=False).run(case)
    return report


def test_only_right_results_are_timed(doubling):
    report = measured(doubling, MadeUpClock())
    assert [row.variant for row in report.rows] == ["cpu", "eager"]
    assert [(variant, reason.split(":")[0]) for _, variant, reason in report.failed] == [
        ("wrong", "AssertionError"),
        ("fails", "ValueError"),
    ]
    assert report.failed[1][2] == "ValueError: made up"
    assert report.skipped == [(doubling.key, "compile", "torch.compile was left out")]
    row = report.rows[0]
    assert (row.kernel_us, row.floor_us, row.fraction) == pytest.approx((1.0, 5.0, 5.0))
    assert (row.method, row.kernel_rounds, row.compared_with) == (GRAPH_REPLAY, 7, "reference")


def test_wrong_kernels_are_not_timed(doubling):
    wrong = replace(doubling, ours=lambda backend: lambda x: x.mul_(2 if backend == "reference" else 5))
    report = measured(wrong, MadeUpClock())
    assert [row.variant for row in report.rows] == ["eager"]
    assert "cpu" in [variant for _, variant, _ in report.failed]


def test_kernels_that_differ_from_run_to_run_are_not_timed(doubling):
    runs = iter(range(100))

    def ours(backend: str) -> Callable[..., torch.Tensor]:
        return lambda x: x.mul_(2).add_(0 if backend == "reference" else 1e-6 * next(runs))

    report = measured(replace(doubling, ours=ours, same=compare.close(1e-3), rivals={}), MadeUpClock())
    assert not report.rows and "values differ" in report.failed[0][2]


def test_without_memory_for_the_reference_rivals_are_compared_with_ours(doubling, monkeypatch):
    monkeypatch.setattr(measure, "MOST_FOR_REFERENCE", 1)
    report = measured(doubling, MadeUpClock())
    assert [(row.variant, row.compared_with) for row in report.rows] == [("cpu", "nothing"), ("eager", "cpu")]
    assert ("wrong" in [variant for _, variant, _ in report.failed]) is True


def test_what_does_not_fit_is_said(doubling):
    report = measured(doubling, MadeUpClock(memory=191))
    assert not report.rows and "are free" in report.skipped[0][2]

    def too_large(seed: int) -> tuple[Any, ...]:
        raise torch.OutOfMemoryError("made up")

    assert measured(replace(doubling, make=too_large), MadeUpClock()).skipped == [
        (doubling.key, "all", "out of memory")
    ]


def test_a_lost_device_ends_it(doubling):
    clock = MadeUpClock()
    measurement = Measurement(clock, Report(), compile=False)
    clock.lost = True
    with pytest.raises(DeviceLost, match="illegal memory access"):
        measurement.run(doubling)


def test_inputs_are_restored(doubling):
    made = Inputs(doubling, 4)
    made.arguments[0].zero_()
    made.restore()
    assert torch.equal(made.arguments[0], torch.full((1, 2, 3, 4), 5.0))
    assert made.arguments[0].data_ptr() != made.made[0].data_ptr()


# --- results, all made up


def row(case: str, variant: str, kernel_us: float, fraction: float = 0.5, method: str = GRAPH_REPLAY) -> Row:
    return Row(
        case, "refine_step_", "1x1x1x1", "float32", 1, "clustered", variant, method,
        kernel_us, kernel_us * 0.9, kernel_us * 1.1, 50, kernel_us + 9, kernel_us + 8, kernel_us + 10,
        1000, 1.0, fraction, "reference",
    )  # fmt: skip


def timed(**kernel_us: float) -> list[Row]:
    """Rows of case "a"; "b_cuda" is backend cuda of case "b"."""
    return [row(*(("b", name[2:]) if name.startswith("b_") else ("a", name)), us) for name, us in kernel_us.items()]


@pytest.mark.parametrize(
    ("kind", "limit", "other", "rows", "value", "state"),
    [
        ("microseconds", 115, "", timed(cuda=114), 114, REACHED),
        ("microseconds", 115, "", timed(cuda=116), 116, MISSED),
        ("microseconds", 115, "", timed(b_cuda=1, triton=1), None, OPEN),
        ("fraction", 0.7, "", [row("a", "cuda", 9, 0.71)], 0.71, REACHED),
        ("fraction", 0.7, "", [row("a", "cuda", 9, 0.69)], 0.69, MISSED),
        ("times as fast", 2.5, "compile", timed(cuda=10, compile=90, compile_where=24), 2.4, MISSED),
        ("times as fast", 2.0, "compile", timed(cuda=10, compile=25, eager=11), 2.5, REACHED),
        ("times as fast", 2.0, "compile", timed(cuda=10, eager=900), None, OPEN),
        ("times the case", 1.5, "b", timed(cuda=15, b_cuda=10), 1.5, REACHED),
        ("times the case", 1.5, "b", timed(cuda=16, b_cuda=10), 1.6, MISSED),
        ("times the case", 1.5, "b", timed(cuda=16, b_triton=10), None, OPEN),
        ("times the variant", 0.6, "slow", timed(cuda=5, **{"slow (cuda)": 10}), 0.5, REACHED),
        ("times the variant", 0.6, "slow", timed(cuda=6, **{"slow (cuda)": 10}), 0.6, MISSED),
        ("times the variant", 0.6, "slow", timed(cuda=5, **{"slow (triton)": 10}), None, OPEN),
    ],
)
def test_figures_to_reach(kind, limit, other, rows, value, state):
    verdict = judge(Report(rows=rows), GpuTarget("a", kind, limit, other), "cuda")
    assert verdict.value == (None if value is None else pytest.approx(value))
    assert verdict.state == state and verdict.line().startswith(state)


def made_up() -> Report:
    rows = [
        row("one", "cuda", 100.0, 0.75),
        row("one", "triton", 125.0, 0.6),
        row("one", "eager", 700.0, 0.1, BETWEEN_EVENTS),
        row("two", "eager", 50.0, 0.2),
        row("three", "cuda", 10.0, 1.3),
    ]
    return Report(
        {"gpu": "made up", "commit": "none"}, rows, [("four", "all", "too large")], [("five", "cuda", "wrong")]
    )


def test_table():
    lines = table(made_up())
    assert len(lines) == 5
    assert lines[1].split() == ["one", "cuda", "100.0", "90.0-110.0", "109.0", "75%", "eager", "7.0x*"]
    assert lines[2].split() == ["triton", "125.0", "112.5-137.5", "134.0", "60%"]
    assert lines[3].split()[:3] == ["two", "eager", "50.0"]


def test_csv_and_json_hold_everything(tmp_path):
    report = made_up()
    write_csv(tmp_path / "r.csv", report.rows)
    with (tmp_path / "r.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [(r["case"], r["variant"], float(r["kernel_us"])) for r in read] == [
        (r.case, r.variant, r.kernel_us) for r in report.rows
    ]
    write_json(tmp_path / "r.json", report, "cuda")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["environment"]["gpu"] == "made up"
    assert [Row(**entry) for entry in content["results"]] == report.rows
    assert content["skipped"] == [{"case": "four", "variant": "all", "reason": "too large"}]
    assert content["failed"] == [{"case": "five", "variant": "cuda", "reason": "wrong"}]
    assert [entry["state"] for entry in content["figures_to_reach"]] == [OPEN] * len(GPU_TARGETS)


def test_picture(tmp_path):
    report = made_up()
    write_png(tmp_path / "p.png", report.rows, "made up")
    with Image.open(tmp_path / "p.png") as image:
        pixels = image.convert("RGB")

    def bar(line: int, colour: tuple[int, int, int]) -> int:
        """Length of the bar, as the end of its colour along its lower edge."""
        y = TOP + LINE * line + LINE - 5
        return sum(pixels.getpixel((x, y)) == colour for x in range(LABELS, LABELS + BARS + 1))

    lengths = [bar(0, COLOURS["cuda"]), bar(1, COLOURS["triton"]), bar(2, COLOURS["cuda"])]
    assert lengths == pytest.approx([BARS * 0.75, BARS * 0.6, BARS], abs=3)  # eager is not drawn, 130 % is cut off
    assert draw([], "nothing").height > 0


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
