"""benchmarks/gpu: launches and counters as they are read, and the summary that must fit an answer. All is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gpu import counters
from gpu.launch_times import CUB, OURS, Launch, launches_of, lines, short
from gpu.results import Report, Row, read_json, write_json
from gpu.summary import MOST, against_cub, main, summary
from targets import GPU_CASE, GPU_SELECT, GPU_TARGETS

CASE = GPU_CASE.format("float32")
ANSWER = 12_000  # characters of the end of the output that come back

# --- launches


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void magnet::cuda::count_candidates<512>(magnet::cuda::SelectTables, unsigned int)", "count_candidates"),
        (
            "void magnet::cuda::median_of_few<3, magnet::cuda::KeySink>(magnet::cuda::Median<a<b>>, int)",
            "median_of_few",
        ),
        ("magnet::cuda::(anonymous namespace)::clear(int*)", "clear"),
        ("void cub::_V_300500_SM_900::detail::topk::TopKKernel<cub::x<1>, y>(z (*)(int), w)", "TopKKernel"),
        ("plain", "plain"),
    ],
)
def test_short_names(name, expected):
    assert short(name) == expected


def trace(*kernels: tuple[str, float], rounds: int = 3) -> dict[str, Any]:
    """Rounds of these launches, each with a flush and a copy before it, in no order."""
    events: list[dict[str, Any]] = []
    for turn in range(rounds):
        told = {"grid": [132, 1, 1], "block": [256, 1, 1], "registers per thread": 40}
        events.append({"cat": "gpu_memcpy", "name": "Memcpy DtoD", "ts": 100 * turn, "dur": 9})
        events.append({"cat": "kernel", "name": "void at::native::reduce_kernel()", "ts": 100 * turn + 1, "dur": 50})
        for place, (name, us) in enumerate(kernels):
            event = {"cat": "kernel", "name": name, "ts": 100 * turn + 60 + place, "dur": us + turn, "args": told}
            events.append(event)
        events.append({"cat": "cuda_runtime", "name": "cudaLaunchKernel magnet::", "ts": 100 * turn, "dur": 3})
    return {"traceEvents": events[::-1]}


def test_launches_of_a_trace():
    found = launches_of("a", trace(("magnet::cuda::score<a>()", 70), ("magnet::cuda::median()", 5)), OURS, 3)
    assert [(x.kernel, x.median_us, x.grid, x.block, x.registers) for x in found] == [
        ("score", 71, "132x1x1", "256x1x1", 40),
        ("median", 6, "132x1x1", "256x1x1", 40),
    ]
    assert lines(found)[0] == "a: 77.0 us in 2 launches" and len(lines(found)) == 3


def test_a_trace_that_lacks_launches_is_not_believed():
    with pytest.raises(RuntimeError, match="saw none"):
        launches_of("a", trace(("magnet::cuda::score()", 70)), CUB, 3)
    lost = trace(("magnet::cuda::score()", 70), ("magnet::cuda::median()", 5))
    lost["traceEvents"].remove(next(e for e in lost["traceEvents"] if "median" in e["name"]))
    with pytest.raises(RuntimeError, match="5 launches in 3 rounds"):
        launches_of("a", lost, OURS, 3)
    lost["traceEvents"].remove(next(e for e in lost["traceEvents"] if "score" in e["name"]))
    lost["traceEvents"] = [e for e in lost["traceEvents"] if e["ts"] >= 100 or "median" not in e["name"]]
    with pytest.raises(RuntimeError):
        launches_of("a", lost, OURS, 3)


# --- counters


def ncu_file(folder: Path) -> None:
    metrics = list(counters.METRICS)
    kernels = ("void magnet::cuda::score<19>(magnet::cuda::Map)", "void list_tiles<unsigned int>(SelectTables, int)")
    rows = [["0", name, *(f"{1000.5 * (i + 1):,}" for i in range(len(metrics) - 1)), "n/a"] for name in kernels]
    text = [["ID", "Kernel Name", *metrics], ["", "", *("ns" for _ in metrics)], *rows]
    quoted = "\n".join(",".join(f'"{cell}"' for cell in line) for line in text)
    (folder / "ncu.csv").write_text(f"==PROF== Connected\n==PROF== Profiling\n{quoted}\n==PROF== Disconnected\n")


def test_counters_of_ncu(tmp_path):
    assert counters.of_file(tmp_path / "ncu.csv") == []
    ncu_file(tmp_path)
    head, score, tiles = counters.of_file(tmp_path / "ncu.csv")
    assert head.split()[:2] == ["kernel", "us"]
    assert score.split()[:2] == ["score", "1.0"] and score.split()[-1] == "-" and tiles.startswith("list_tiles "), tiles


def test_metrics_are_asked_for_by_their_names():
    assert all(name.count("__") == 1 for name in counters.METRICS)
    assert len({heading for heading, *_ in counters.METRICS.values()}) == len(counters.METRICS)


# --- the summary


def row(case: str, variant: str, us: float) -> Row:
    return Row(
        case, "refine_step_", "1x1", "float32", 1, "clustered", variant, "graph replay",
        us, us, us, 50, us, us, us, 1000, 1.0, 0.9, "reference",
    )  # fmt: skip


def launch(case: str, kernel: str, us: float) -> Launch:
    return Launch(case, kernel, us, us, us, "1x1x1", "256x1x1", 40)


FUSED = [launch(CASE, "score", 75), launch(CASE, "count_candidates", 4), launch(CASE, "list_tiles", 6)]


@pytest.mark.parametrize(("cub", "words"), [(30.0, "3.00x as fast"), (9.0, "OURS IS NOT FASTER")])
def test_selection_against_cub(cub, words):
    report = Report(
        rows=[row(GPU_SELECT, "cuda", 20), row(GPU_SELECT, "CUB", 80), row(GPU_SELECT, "CUB, same points", 19)]
    )
    alone, same, fused = against_cub(report, [*FUSED, launch(f"{GPU_SELECT}, CUB", "TopKKernel", cub)])
    assert "20.0 us against CUB 80.0 us: 4.00x as fast" in alone
    assert "CUB, same points 19.0 us: OURS IS NOT FASTER" in same
    assert f"10.0 us against CUB {cub:.1f} us" in fused and words in fused
    assert len(against_cub(report, [])) == 2 and against_cub(Report(), FUSED) == []


@pytest.mark.parametrize("changes", ["", " + changes"])
def test_a_summary_says_of_which_commit_and_whether_files_differed_from_it(tmp_path, changes):
    report = Report({"gpu": "H200", "copy_bytes_per_second": 4.3e12, "torch": "2.11.0", "commit": "c" * 40 + changes})
    report.put(row(GPU_SELECT, "cuda", 20))
    write_json(tmp_path / "results.json", report, "cuda")
    lines, _ = summary(tmp_path, [], "gpu_check")
    assert lines[1] == f"copy 4300 GB/s, torch 2.11.0, commit {'c' * 12}{changes}"


def large(folder: Path, gpu: str = "NVIDIA H200") -> None:
    """As much as a run can bring: everything measured, many failures with long words."""
    report = Report({"gpu": gpu, "copy_bytes_per_second": 4.3e12, "torch": "2.11.0+cu130", "commit": "c" * 40})
    for target in GPU_TARGETS:
        report.put(row(target.case, "cuda", 100))
        report.put(row(target.case, "eager", 9000))
    for number in range(90):
        report.rows += [
            row(f"case {number} {'x' * 60}", variant, 100) for variant in ("cuda", "triton", "eager", "compile")
        ]
        report.failed.append((f"case {number}", "cuda", "made up " * 60))
        report.skipped.append((f"case {number}", "compile", "made up " * 60))
    write_json(folder / "results.json", report, "cuda")
    found = [launch(f"case {n} {'x' * 60}", "kernel" * 4, 100) for n in range(40)] + FUSED
    (folder / "launches.json").write_text(json.dumps({"launches": [x._asdict() for x in found], "problems": []}))
    ncu_file(folder)


def test_summary_fits_an_answer(tmp_path, capsys):
    large(tmp_path)
    steps = tmp_path / "steps"
    steps.write_text("".join(f"ok         step {n:14} 10 s  {'words ' * 18}\n" for n in range(15)))
    assert main([str(tmp_path), str(steps), "gpu_check: made up"]) == 2
    printed = capsys.readouterr().out
    assert MOST - 1000 < len(printed) <= MOST < ANSWER
    assert printed.startswith("gpu_check: made up\ncopy 4300 GB/s")
    for part in (
        "-- steps",
        "-- figures to reach",
        "-- FAILED while measured",
        "-- launches",
        "more lines: see the files",
    ):
        assert part in printed
    for line in printed.splitlines():
        assert len(line) <= 170


@pytest.mark.parametrize(
    ("gpu", "microseconds", "fractions"), [("H200", 2, 3), ("H100 80GB HBM3", 0, 3), ("B200", 0, 1)]
)
def test_figures_are_those_of_the_gpu(tmp_path, gpu, microseconds, fractions):
    large(tmp_path, f"NVIDIA {gpu}")
    kinds = [verdict.target.kind for verdict in read_json(tmp_path / "results.json").verdicts()]
    assert kinds.count("microseconds") == microseconds and kinds.count("fraction") == fractions
    assert kinds.count("times as fast") == 2


def test_summary_of_nothing(tmp_path, capsys):
    """Where every step failed, the steps are what there is to say."""
    told, missed = summary(tmp_path, ["FAILED     build"], "made up")
    assert "FAILED     build" in told and not missed
    assert main([str(tmp_path), str(tmp_path / "no file")]) == 0
    assert "not measured" in capsys.readouterr().out


def test_results_of_two_steps_are_joined(tmp_path):
    report = Report(
        {"gpu": "made up"}, [row("one", "cuda", 100)], [("one", "compile", "left out")], [("two", "cuda", "wrong")]
    )
    write_json(tmp_path / "results.json", report, "cuda")
    again = read_json(tmp_path / "results.json")
    assert again == report
    again.put(row("one", "cuda", 90))
    again.put(row("one", "eager", 900))
    again.forget("two")
    assert [(r.variant, r.kernel_us) for r in again.rows] == [("cuda", 90), ("eager", 900)] and again.failed == []
    assert read_json(tmp_path / "none.json") == Report()
