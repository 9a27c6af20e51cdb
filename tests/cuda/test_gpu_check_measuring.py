"""benchmarks/gpu: the clock, the measuring and its results, without a GPU. Every time in here is made up."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu import compare, measure
from gpu.arithmetic import Times
from gpu.case import Case
from gpu.clock import BETWEEN_EVENTS, FLUSH, GRAPH_REPLAY, CudaClock
from gpu.measure import DeviceLost, Inputs, Measurement
from gpu.picture import BARS, COLOURS, LABELS, LINE, TOP, draw, write_png
from gpu.results import MISSED, OPEN, REACHED, Report, Row, judge, table, write_csv, write_json
from like_cuda import TakesLikeCuda
from PIL import Image
from targets import GPU_TARGETS, GpuTarget

pytestmark = pytest.mark.slow

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


def test_ours_alone(doubling, monkeypatch):
    """The first live backend, and no rival: the answer that comes first."""
    monkeypatch.setattr(measure, "live_backends", lambda operator, device: ["cuda", "triton"])
    report = Report(failed=[(doubling.key, "cuda", "said by an earlier step")])
    Measurement(MadeUpClock(), report, compile=True, ours_only=True).run(doubling)
    assert [row.variant for row in report.rows] == ["cuda"] and not report.failed and not report.skipped


def test_a_rival_with_a_comparison_of_its_own(doubling):
    """And CUB's selection, which is left out where there is no GPU."""
    strict = replace(doubling, same=compare.close(9), rivals={"near": lambda x: x.mul_(2.5), "CUB": lambda x: x})
    assert [row.variant for row in measured(strict, MadeUpClock()).rows] == ["cpu", "near"]
    report = measured(replace(strict, same_of={"near": compare.identical}), MadeUpClock())
    assert [variant for _, variant, _ in report.failed] == ["near"]
    assert report.skipped == [(doubling.key, "CUB", "CUB's selection needs a GPU")]


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
    for case, needed in ((doubling, 11 * 96 // 4), (replace(doubling, in_place=False), 2 * 96)):
        report = measured(case, MadeUpClock(memory=needed - 1))
        assert not report.rows and "are free" in report.skipped[0][2]
        assert "are free" not in str(measured(case, MadeUpClock(memory=needed)).skipped)

    def too_large(seed: int) -> tuple[Any, ...]:
        raise torch.OutOfMemoryError("made up")

    assert measured(replace(doubling, make=too_large), MadeUpClock()).skipped == [
        (doubling.key, "all", "out of memory")
    ]


def test_without_memory_for_ours_no_rival_is_timed(doubling, monkeypatch):
    """Rivals alone tell nothing, and on maps as large as these take seconds."""
    monkeypatch.setattr(measure, "live_backends", lambda operator, device: ["cuda", "triton"])

    def ours(lacking: str) -> Callable[[str], Callable[..., torch.Tensor]]:
        def run(x: torch.Tensor, backend: str) -> torch.Tensor:
            if backend == lacking:
                raise torch.OutOfMemoryError("made up")
            return x.mul_(2)

        return lambda backend: lambda x: run(x, backend)

    report = measured(replace(doubling, ours=ours("cuda")), MadeUpClock())
    assert not report.rows and report.skipped == [(doubling.key, "all", "out of memory")]
    report = measured(replace(doubling, ours=ours("triton")), MadeUpClock())
    assert [row.variant for row in report.rows] == ["cuda"]
    assert report.skipped == [(doubling.key, "all others", "out of memory")] and not report.failed


def test_comparing_large_maps_takes_a_byte_a_value():
    """So that the largest case fits: counted in one sum on a GPU, what differs would take four times the map."""
    a = torch.rand(3, 5, 40, 70).bfloat16()
    other = a.clone()
    with TakesLikeCuda() as taken:
        compare.identical(a, other, ())
    assert taken.most == a.numel()
    a[1, 2, 3, 4:7] += 1
    with pytest.raises(AssertionError, match=r"^3 of 42000 values differ$"):
        compare.identical(a, other, ())


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
    anywhere = [target for target in GPU_TARGETS if not target.gpu]
    assert [entry["state"] for entry in content["figures_to_reach"]] == [OPEN] * len(anywhere)


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
