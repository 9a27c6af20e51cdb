"""What a call of refine_step costs beside its kernels: CPU time on maps of 8 x 8 pixels, and where it goes."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from seeded import probs
from targets import MOST_DISPATCH_US
from torch import Tensor

from magnet_kernels import _backends, available_backends, refine_step
from magnet_kernels.ops.refine_step import _check, _refine_step

ROUNDS, CALLS = 41, 500
K = 4


def cpu_microseconds(parts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU time of this thread for one call of each part: medians of rounds taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            for _ in range(20):
                part()
            start = time.thread_time_ns()
            for _ in range(CALLS):
                part()
            took[name].append((time.thread_time_ns() - start) / CALLS / 1e3)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


@pytest.fixture
def alone():
    """One thread, and no garbage collection, whose time depends on what else is in memory (as timeit does it)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    torch.set_num_threads(before)


@pytest.mark.skipif(available_backends()["refine_step"]["cpu"] != "ok", reason="needs the compiled CPU kernels")
def test_dispatch_overhead(alone, report):
    coarse, fine = (probs(f"dispatch.{name}", 2, 3, 8, 8) for name in ("coarse", "fine"))
    nothing = coarse[:0]

    def below_autograd(a: Tensor, b: Tensor) -> Callable[[], object]:
        def run() -> object:
            with torch._C._AutoDispatchBelowAutograd():
                return _refine_step(a, b, None, K, 3, False)

        return run

    def guard() -> None:
        with torch._C._AutoDispatchBelowAutograd():
            pass

    times = cpu_microseconds(
        {
            "call": lambda: refine_step(coarse, fine, n_points=K),
            "checks": lambda: _check(coarse, fine, K, 3, None),
            "choice": lambda: _backends.choose("refine_step", "auto", coarse.device, _refine_step),
            "operator": lambda: _refine_step(coarse, fine, None, K, 3, False),
            "below": below_autograd(coarse, fine),
            "nothing": below_autograd(nothing, nothing),
            "guard": guard,
            "empty": lambda: (torch.empty_like(nothing), nothing.new_empty((0, K), dtype=torch.int64)),
        }
    )
    allocation, dispatch = times["empty"], times["nothing"] - times["guard"] - times["empty"]
    split = {
        "the call": times["call"],
        "checks and choice of the backend, Python": times["call"] - times["operator"],
        "of these, checks": times["checks"],
        "of these, choice of the backend": times["choice"],
        "torch's autograd wrapper, Python": times["operator"] - times["below"] + times["guard"],
        "torch's dispatch and conversion of arguments": dispatch,
        "allocation of the two results": allocation,
        "the kernel and its two score maps": times["below"] - times["nothing"],
    }
    overhead = times["call"] - (times["below"] - times["nothing"])
    report.dispatch.update(split)
    report.dispatch["overhead: all but the kernel"] = overhead
    assert overhead < MOST_DISPATCH_US, f"{overhead:.1f} us of overhead: {split}"
