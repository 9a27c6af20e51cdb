"""Measure all operators on a GPU: ``PYTHONPATH=.:benchmarks python -m gpu --out FOLDER``.

``--device cpu --smoke`` only tries this program out, on tiny maps: its figures say nothing about a GPU.
Exit codes: 0 measured, all figures to reach reached; 1 something failed; 2 measured, some figure not reached; 3 no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from targets import GPU_SELECT, GPU_TARGETS

from gpu.case import Case
from gpu.cases import SMOKE, all_cases
from gpu.clock import CpuClock, CudaClock
from gpu.environment import clocks, environment
from gpu.measure import DeviceLost, Measurement
from gpu.results import MISSED, Report, read_json, table, write_csv, write_json

LARGE = 2**32  # bytes of inputs, for which rivals take many seconds
NO_GPU_RESULT = "*** NOT A GPU RESULT: run on a CPU at tiny sizes, only to try the program out ***"


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of results.csv, results.json and floor.png")
    parser.add_argument("--seconds", type=float, default=240, help="start no further case after these (240)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny maps; says nothing about speed")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument(
        "--cases", choices=("all", "targets", "rest"), default="all", help="with figures to reach or not"
    )
    parser.add_argument("--ours-only", action="store_true", help="no rivals, and of ours the backend that is preferred")
    parser.add_argument("--join", action="store_true", help="keep the results that are in the folder")
    parser.add_argument("--no-judging", action="store_true", help="exit code 0 also where a figure is not reached")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cpu" and not chosen.smoke:
        parser.error(
            "--device cpu needs --smoke: this benchmark is for GPUs; a CPU's is 'pytest benchmarks/ --benchmark'"
        )
    return chosen


def allow_many_compilations() -> None:
    """Every shape is compiled for itself; after 8 of them torch.compile would give up."""
    import torch._dynamo

    for name in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit", "accumulated_cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 4096)


def write(report: Report, out: Path, backend: str, title: str) -> None:
    write_csv(out / "results.csv", report.rows)
    write_json(out / "results.json", report, backend)
    try:
        from gpu.picture import write_png
    except ImportError:  # no Pillow: no picture, which holds nothing that the table does not
        return
    write_png(out / "floor.png", report.rows, title)


def chosen_cases(cases: list[Case], chosen: argparse.Namespace) -> list[Case]:
    """Those with a figure to reach, in the order of the figures, but the largest last; the rest; or all."""
    cases = [case for case in cases if chosen.only in case.key]
    wanted = [key for target in GPU_TARGETS for key in (target.case, target.other)] + [GPU_SELECT]
    if chosen.cases == "targets":
        picked = [case for case in cases if case.key in wanted]
        return sorted(picked, key=lambda case: (case.memory > LARGE, wanted.index(case.key)))
    return [case for case in cases if chosen.cases == "all" or case.key not in wanted]


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    started = time.monotonic()
    on_gpu = chosen.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("no GPU that torch can use: nothing was measured")
        return 3
    cases = chosen_cases(all_cases(chosen.device, SMOKE if chosen.smoke else 1), chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.no_compile and not chosen.ours_only:
        allow_many_compilations()
    if not on_gpu:
        print(NO_GPU_RESULT)
    report = read_json(chosen.out / "results.json") if chosen.join else Report()
    report.environment = {**report.environment, **environment(chosen.device)}
    if not on_gpu:
        report.environment["warning"] = NO_GPU_RESULT
    backend = "cuda" if on_gpu else "cpu"
    clock = CudaClock() if on_gpu else CpuClock()
    measurement = Measurement(clock, report, compile=not chosen.no_compile, ours_only=chosen.ours_only)
    title = (
        f"Fraction of the floor (copy bandwidth {measurement.copy_rate / 1e9:.0f} GB/s), {report.environment['gpu']}"
    )
    lost = False
    for case in cases:
        if time.monotonic() - started > chosen.seconds:
            report.skipped.append((case.key, "all", f"time ran out after {chosen.seconds:.0f} s"))
            continue
        try:
            measurement.run(case)
        except DeviceLost as error:
            report.failed.append((case.key, "all", f"the device was lost, nothing after this was measured: {error}"))
            lost = True
            break
        write(report, chosen.out, backend, title)  # so that what was measured stays, whatever comes
    if on_gpu and not lost:
        report.environment["as_found_after"] = clocks()
    report.environment["seconds"] = time.monotonic() - started
    write(report, chosen.out, backend, title)
    show(report, backend, chosen.smoke)
    if not on_gpu:
        print(NO_GPU_RESULT)
    if {case for case, *_ in report.failed} & {case.key for case in cases} or not report.rows:
        return 1
    if chosen.smoke or chosen.no_judging:
        return 0
    return 2 if any(v.state == MISSED for v in report.verdicts(backend)) else 0


def show(report: Report, backend: str, smoke: bool) -> None:
    """The table, what is missing and why, and last the figures to reach."""
    for line in table(report):
        print(line)
    print("*: host code waits for the device, so that no graph can hold it: timed as calls between events")
    for kind, entries in (("skipped", report.skipped), ("FAILED", report.failed)):
        for case, variant, reason in entries:
            print(f"{kind}: {case}, {variant}: {reason}")
    rate = report.environment["copy_bytes_per_second"] / 1e9
    print(f"\n{report.environment['gpu']}, copy bandwidth {rate:.0f} GB/s, commit {report.environment['commit']}")
    print("Must reach:")
    for verdict in report.verdicts(backend):
        print(" ", verdict.line())


if __name__ == "__main__":
    sys.exit(main())
