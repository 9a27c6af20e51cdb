"""Cases and how they are timed: inputs once, results checked first, medians of enough rounds in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from report import OURS, Report, Result
from seeded import probs
from torch import Tensor

from magnet_kernels import available_backends

SECONDS = {OURS: 1.5, "opencv": 1.0, "compile": 2.5, "reference": 3.0}  # spent on the rounds of a variant
ROUNDS = 3, 40
COPY_SHAPE, COPIES = (1, 19, 1024, 2048), 7

_INPUTS: dict[object, Any] = {}


def cached(key: object, make: Callable[[], Any]) -> Any:
    """Inputs are large: made once, shared by the variants of a case and dropped when another key of that kind comes."""
    if key not in _INPUTS:
        _INPUTS[key] = make()
    return _INPUTS[key]


def forget_inputs() -> None:
    """Give the memory of the inputs back."""
    _INPUTS.clear()


def pair(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
) -> tuple[Tensor, Tensor]:
    """Probabilities (coarse, fine) that look like a network's."""

    def make() -> tuple[Tensor, Tensor]:
        return tuple(
            probs(f"benchmark.{n}", *shape).to(dtype).contiguous(memory_format=layout) for n in ("coarse", "fine")
        )

    return cached(("pair", shape, dtype, layout), make)


def nbytes(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def copy_rate() -> float:
    """GB/s, read and written, of torch's copy of a map of fp32 to memory that is there: the floor of the rows."""
    source, target = cached(("copy", COPY_SHAPE), lambda: (torch.ones(COPY_SHAPE), torch.ones(COPY_SHAPE)))
    took = []
    for _ in range(COPIES):
        start = time.perf_counter()
        target.copy_(source)
        took.append(time.perf_counter() - start)
    return nbytes(source, target) / statistics.median(took) / 1e9


def describe(x: Tensor) -> str:
    """As in "1x19x1024x2048 float32"."""
    text = f"{'x'.join(map(str, x.shape))} {str(x.dtype).removeprefix('torch.')}"
    return text if x.is_contiguous() else f"{text} channels_last"


@dataclass(frozen=True)
class Case:
    """One thing to time.

    ``variants`` map names to functions of the arguments; ``OURS`` is the one that the others are held against.
    ``prepare`` gives (arguments, bytes that any implementation moves). ``reset`` runs before each round, outside the
    time. ``same`` raises where a competitor's result is not ours.
    """

    name: str
    operator: str
    prepare: Callable[[], tuple[tuple[Any, ...], int]]
    variants: dict[str, Callable[..., Any]]
    same: Callable[[Any, Any], None]
    reset: Callable[..., None] | None = None
    label: Callable[..., str] = field(default=lambda *arguments: describe(arguments[0]))


def parametrize(cases: list[Case]) -> pytest.MarkDecorator:
    """One test for each variant of each case."""
    return pytest.mark.parametrize(
        ("case", "variant"),
        [pytest.param(case, variant, id=f"{case.name}-{variant}") for case in cases for variant in case.variants],
    )


def backend_of(operator: str, variant: str, device: str = "cpu") -> str:
    """Which of our backends runs, or "torch"."""
    if variant != OURS:
        return variant
    order = ("cuda", "triton") if device == "cuda" else ("cpu",)
    live = available_backends()[operator]
    return next((backend for backend in order if live[backend] == "ok"), "reference")


def timed(case: Case, variant: str, benchmark: Any, report: Report) -> None:
    """Check the variant's result against ours, time it in turns with ours, keep the result."""
    arguments, bytes_moved = case.prepare()
    label, backend = case.label(*arguments), backend_of(case.operator, variant)
    ours_took: list[float] = []

    def reset() -> None:
        if case.reset is not None:
            case.reset(*arguments)

    def run(name: str = variant) -> Any:
        return case.variants[name](*arguments)

    def clocked(name: str) -> float:
        reset()
        start = time.perf_counter()
        run(name)
        return time.perf_counter() - start

    def after_itself(name: str) -> None:
        """Caches and the allocator as a run of its own leaves them, not as the other variant does."""
        if case.reset is None:
            run(name)

    def before_a_round() -> None:
        if variant != OURS:
            after_itself(OURS)
            ours_took.append(clocked(OURS))
            if seconds < 0.3:
                after_itself(variant)
        reset()

    clocked(variant)  # loads and compiles what must be
    reset()
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    if variant != OURS:
        result = _kept(result)
        reset()
        case.same(result, _kept(run(OURS)))
    del result
    rounds = max(ROUNDS[0] if seconds < 3 else 1, min(ROUNDS[1], int(SECONDS[variant] / seconds)))
    copy = copy_rate()
    dtype = str(arguments[0].dtype).removeprefix("torch.")
    benchmark.extra_info.update(operator=case.operator, case=case.name, shape=label, variant=variant)
    benchmark.extra_info.update(backend=backend, dtype=dtype, bytes_moved=bytes_moved, **report.environment)
    benchmark.pedantic(run, setup=before_a_round, rounds=rounds, iterations=1)
    if benchmark.stats is None:  # --benchmark-disable
        return
    stats = benchmark.stats.stats
    if variant != OURS and len(ours_took) < 5:
        after_itself(OURS)
        ours_took += [clocked(OURS) for _ in range(5 - len(ours_took))]
    ours = statistics.median(ours_took) if ours_took else stats.median
    measured = Result(case.name, label, variant, backend, stats.median, stats.iqr / 2, ours, bytes_moved, copy)
    benchmark.extra_info.update(gb_per_s=measured.rate, copy_gb_per_s=copy, ours_in_turns_s=ours, ratio=measured.ratio)
    report.results.append(measured)


def _kept(result: Any) -> Any:
    """A copy, where the next run would write over the result."""
    return tuple(map(_kept, result)) if isinstance(result, tuple) else result.clone()


def close(atol: float = 1e-6) -> Callable[[Any, Any], None]:
    """Results must agree within ``atol``."""

    def same(theirs: Any, ours: Any) -> None:
        if isinstance(ours, tuple):
            for a, b in zip(theirs, ours, strict=True):
                same(a, b)
            return
        torch.testing.assert_close(theirs.to(ours.dtype), ours, rtol=0, atol=atol)

    return same
