"""How long each launch takes inside an operator, from torch's profiler; and the program that ncu looks into.

    PYTHONPATH=.:benchmarks python -m gpu.launches --out FOLDER     # launches.json
    ncu --profile-from-start off ... python -m gpu.launches --once  # each once more after a first call, nothing timed

Caches are as they are in use: what a launch left in L2 is there for the next. CUB's selection is looked at in the same
way, after the score map was made, so that it can be held against the launches of refine_step_ that select.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from targets import GPU_CASE, GPU_SELECT

from gpu import cub_topk
from gpu.case import Case
from gpu.cases import BFLOAT, Cases
from gpu.clock import CudaClock
from gpu.inputs import FLAT, SCATTERED
from gpu.launch_times import CUB, OURS, Launch, launches_of, lines
from gpu.measure import Inputs, live_backends

ROUNDS = 20
LOOKED_INTO = 8  # of the cases, by ncu: each launch is run some ten times for its counters


def profiled(call: Callable[[], Any], before: Callable[[], Any], rounds: int = ROUNDS) -> dict[str, Any]:
    """The trace of ``rounds`` calls, with ``before`` ahead of each."""
    before()
    call()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(rounds):
            before()
            call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profile.export_chrome_trace(str(path))
        return json.loads(path.read_text())


def cases_of_several_launches() -> list[Case]:
    """The operators that are more than one launch, the most important ones first."""
    m = Cases("cuda")
    return [
        m.refine_(),
        m.refine_(dtype=BFLOAT),
        m.stage(labels=True),
        m.stage(labels=False),
        m.stage(labels=True, logits=True),
        m.refine(half=False),
        m.refine(half=True),
        m.refine_(layout=torch.channels_last),
        m.refine_(logits=True),
        m.refine_(n_points=0.03, scores=SCATTERED),
        m.refine_(n_points=0.03, scores=FLAT),
        m.refine_(n_points=0.9),
    ]


def of_case(clock: CudaClock, case: Case) -> list[Launch]:
    inputs = Inputs(case, 0)

    def before() -> None:
        inputs.restore()
        clock.flush()

    trace = profiled(lambda: case.ours("cuda")(*inputs.arguments), before)
    return launches_of(case.key, trace, OURS, ROUNDS)


def of_selection(clock: CudaClock, variant: str) -> list[Launch]:
    """Selection alone of a score map that is in L2, as it is after the median."""
    case = Cases("cuda").select(_points())
    inputs = Inputs(case, 0)
    score, k = inputs.arguments
    copy = score.clone()
    call = case.rivals[variant] if variant in case.rivals else case.ours(variant)

    def before() -> None:
        clock.flush()
        score.copy_(copy)

    trace = profiled(lambda: call(score, k), before)
    return launches_of(f"{case.key}, {variant}", trace, CUB if variant.startswith("CUB") else OURS, ROUNDS)


def _points() -> int:
    return int(GPU_SELECT.rsplit("=", 1)[1])


def once() -> None:
    """What ncu looks at: of each case the second call, caches as a flush and the launch before leave them."""
    cases = cases_of_several_launches()
    assert cases[0].key == GPU_CASE.format("float32")
    clock = CudaClock()
    for case in cases[:LOOKED_INTO]:
        inputs = Inputs(case, 0)
        case.ours("cuda")(*inputs.arguments)
        inputs.restore()
        clock.flush()
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        case.ours("cuda")(*inputs.arguments)
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.launches", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of launches.json")
    parser.add_argument("--once", action="store_true", help="run some cases once for ncu, time nothing")
    chosen = parser.parse_args(arguments)
    if "cuda" not in live_backends("refine_step_", "cuda"):
        print("the CUDA kernels are not live here")
        return 1
    if chosen.once:
        once()
        return 0
    clock, found, problems = CudaClock(), [], []
    jobs = [functools.partial(of_case, clock, case) for case in cases_of_several_launches()]
    variants = ["cuda", *(("CUB", "CUB, same points") if cub_topk.why_not() is None else ())]
    jobs[2:2] = [functools.partial(of_selection, clock, variant) for variant in variants]
    for job in jobs:
        try:
            found += job()
        except Exception as error:  # one of them costs only itself
            problems.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    if len(variants) == 1:
        problems.append(f"left out: {cub_topk.why_not()}")
    for line in [*lines(found), *problems]:
        print(line)
    content = {"launches": [launch._asdict() for launch in found], "problems": problems}
    (chosen.out / "launches.json").write_text(json.dumps(content, indent=1) + "\n")
    return 1 if any(not problem.startswith("left out") for problem in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
