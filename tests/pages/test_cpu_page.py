"""benchmarks/cpu_page.py writes what runs of the benchmarks measured, and docs/performance.md holds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cpu_page import BEGIN, END, PAGE, block, table, trimmed, with_table
from report import Report, Result

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def run(seconds: float, copy_rate: float = 20.0) -> dict[str, object]:
    """Of two cases, one of them with a rival: 300 MB in ``seconds``, and 60 MB in 3 ms."""
    shape = "1x19x1024x2048 float32"
    ours = Result("confidence", shape, "magnet", "cpu", seconds, 0.0, seconds, 300_000_000, copy_rate)
    rival = Result("confidence", shape, "reference", "reference", 100 * seconds, 0.0, seconds, 300_000_000, copy_rate)
    other = Result("confidence", f"{shape} channels_last", "magnet", "cpu", 3e-3, 0.0, 3e-3, 60_000_000, copy_rate)
    environment = {"cpu": "made up", "threads": 2, "instruction_set": "avx2", "torch": "2.13.0", "load": 0.25}
    return {"environment": environment, "results": Report(results=[ours, rival, other]).rows()}


def test_times_of_both_runs_and_their_multiples_of_a_copy():
    lines = table(run(0.030), run(0.0225))
    assert lines[2:] == [
        "| `confidence` | 300 | 30 | **2.00** | 22.5 | 1.50 | 3000 |  |",
        "| `confidence` float32 channels_last | 60 | 3 | 1.00 | 3 | 1.00 |  |  |",
    ]


def test_the_machine_goes_before_the_table_and_what_is_bold_after_it():
    lines = block("cpu_x", run(0.030), run(0.0225, copy_rate=21.0))
    assert lines[0].startswith("[`cpu_x.txt`](../benchmarks/results/cpu_x.txt), [`cpu_x_kept.txt`]")
    assert "made up, 2 threads, avx2, torch 2.13.0; a copy reads and writes 20.0 GB/s (21.0 in" in lines[0]
    assert lines[2:-2] == table(run(0.030), run(0.0225, copy_rate=21.0))
    assert lines[-1].endswith("as the C library comes 1 of 2 rows, with memory kept 0 of 2 rows.")


def test_the_report_names_what_takes_longer_than_the_copy_allows():
    results = [Result(**{name: row[name] for name in Result.__dataclass_fields__}) for row in run(0.030)["results"]]
    last = Report(results=results).lines(3)[-2]
    assert last == "ours above 1.6x the copy: confidence 1x19x1024x2048 float32 2.00x"


def test_only_what_stands_between_the_marks_is_replaced():
    assert with_table(f"before\n{BEGIN}old\n{END}after\n", ["new"]) == f"before\n{BEGIN}new\n{END}after\n"
    page = PAGE.read_text()
    assert page.count(BEGIN) == page.count(END) == 1


def test_rounds_are_taken_out_of_the_results(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**run(0.030), "benchmarks": [1], "machine_info": {}, "version": "1"}))
    assert trimmed(path) == json.loads(path.read_text()) == {**run(0.030), "version": "1"}


@pytest.mark.parametrize("kept", sorted(RESULTS.glob("cpu_*_kept.json")), ids=lambda path: path.stem)
def test_the_page_holds_the_results(kept):
    fresh = kept.with_name(kept.name.replace("_kept", ""))
    lines = block(fresh.stem, *(json.loads(path.read_text()) for path in (fresh, kept)))
    assert "\n".join(lines) in PAGE.read_text()


def copies(file: str) -> dict[str, float]:
    """Case and what of its shape is not the usual one: multiples of the copy, of our rows of a table of results."""
    rows = {}
    for line in (RESULTS / file).read_text(encoding="utf-8").splitlines():
        if match := re.match(r" *(.+?) {2,}(1x\S+ \S+(?: channels_last)?) +magnet .* ([\d.]+)x *$", line):
            case, shape, multiple = match.groups()
            rows[case + shape.removeprefix("1x19x1024x2048 float32")] = float(multiple)
    return rows


def test_the_page_holds_the_multiples_with_avx_512():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    n = r"(\d+\.\d+)"
    found = re.search(
        f"on an Intel Xeon: {n} for `upsample_confidence` x2, {n} and {n} for half-size coarse with K = 64 and "
        f"K = 65536, {n} and {n} for patches that overlap, {n} for `confidence` of channels_last, all within the "
        f"aim, and {n} for `refine_step_`",
        page,
    )
    assert found
    rows = copies("cpu_xeon_avx512_kept.txt")
    names = [
        *("upsample_confidence x2", "refine_step, half-size coarse, K=64", "refine_step, half-size coarse"),
        *(
            "stitch_patches, a quarter overlaps",
            "stitch_patches, overlapping",
            "confidence channels_last",
            "refine_step_",
        ),
    ]
    assert [float(text) for text in found.groups()] == [rows[name] for name in names]
    assert all(rows[name] <= 1.6 for name in names)
