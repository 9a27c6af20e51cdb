"""Runs cases: each result is compared first, then timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from competitors import why_not_compiled
from targets import GPU_CASE

from gpu import cub_topk
from gpu.arithmetic import Times, fraction_of_floor, pixels
from gpu.case import Case, Compare
from gpu.clock import Clock
from gpu.compare import identical
from gpu.results import OURS, Report, Row
from magnet_kernels import available_backends

ROTATED = 3, 2**30  # so many sets of inputs, where each has at most this many bytes
MOST_FOR_REFERENCE = 2**24  # pixels: on larger maps the reference takes tens of bytes for each of them, many times over
REFERENCE = "reference"


class DeviceLost(Exception):
    """The device answers no more, so that nothing after this can be measured."""


class Inputs:
    """One set of arguments; the map that an in-place call writes is kept and restored."""

    def __init__(self, case: Case, seed: int) -> None:
        self.made = case.make(seed)
        self.arguments = (self.made[0].clone(), *self.made[1:]) if case.in_place else self.made

    def restore(self) -> None:
        if self.arguments is not self.made:
            self.arguments[0].copy_(self.made[0])


def needed(case: Case) -> int:
    """Bytes that a case takes: its inputs, and as much again to make and to compare them.

    In place, of two maps: a copy of the one that is restored, two results, and a byte for each value that is compared.
    """
    return 11 * case.memory // 4 if case.in_place else 2 * case.memory


def device_of(backend: str) -> str:
    return "cpu" if backend == "cpu" else "cuda"


def live_backends(operator: str, device: str) -> list[str]:
    """Compiled backends of ``operator`` on this device."""
    states = available_backends().get(operator, {})
    return [name for name in OURS if states.get(name) == "ok" and device_of(name) == device]


class Measurement:
    """Measures case after case into a report. ``ours_only``: the first live backend of each, nothing else."""

    def __init__(
        self, clock: Clock, report: Report, *, compile: bool, ours_only: bool = False, seconds: float = 0.15
    ) -> None:
        self.clock, self.report, self.seconds, self.ours_only = clock, report, seconds, ours_only
        compile = compile and not ours_only
        self.not_compiled = why_not_compiled(clock.device) if compile else "torch.compile was left out"
        self.copy_rate = clock.bandwidth()
        report.environment["copy_bytes_per_second"] = self.copy_rate
        report.environment["empty_replay_us"] = clock.empty_replay() * 1e6

    def run(self, case: Case) -> None:
        self.report.forget(case.key)
        try:
            self._run(case)
        except torch.OutOfMemoryError:
            had = any(row.case == case.key for row in self.report.rows)
            self._skip(case, "all others" if had else "all", "out of memory")
        except DeviceLost:
            raise
        except Exception as error:
            self._fail(case, "all", error)
        finally:
            gc.collect()
            self.clock.free()

    def _run(self, case: Case) -> None:
        free = self.clock.free()
        if needed(case) > free:
            self._skip(case, "all", f"needs {needed(case) / 2**30:.1f} GiB, {free / 2**30:.1f} are free")
            return
        sets = [Inputs(case, seed) for seed in range(ROTATED[0] if case.memory <= ROTATED[1] else 1)]
        expected, source = self._expected(case, sets[0])
        for name, function, same in self._variants(case):
            result = self._checked(case, name, function, same, sets[0], expected)
            if result is None:
                continue
            if expected is None:
                expected, source = result, name
            del result
            self._time(case, name, function, sets, source if source != name else "nothing")

    def _expected(self, case: Case, inputs: Inputs) -> tuple[Any, str]:
        """The reference's result, where there is memory for it."""
        if pixels(case.shape) > MOST_FOR_REFERENCE:
            return None, ""
        try:
            expected = kept(case.ours(REFERENCE)(*inputs.arguments))
        except torch.OutOfMemoryError:
            self._skip(case, REFERENCE, "out of memory")
            return None, ""
        finally:
            inputs.restore()
        return expected, REFERENCE

    def _variants(self, case: Case) -> Iterator[tuple[str, Callable[..., Any], Compare]]:
        live = live_backends(case.operator, self.clock.device)
        for backend in live[:1] if self.ours_only else live:
            yield backend, case.ours(backend), case.same
        if not live:
            self._skip(case, "all compiled backends", str(available_backends().get(case.operator)))
        if self.ours_only:
            return
        if case.key == GPU_CASE.format("float32"):
            yield REFERENCE, case.ours(REFERENCE), identical
        for name, made in case.combined.items():
            for backend in live:
                yield f"{name} ({backend})", made(backend), case.same
        for name, function in case.rivals.items():
            if name.startswith("compile") and self.not_compiled:
                self._skip(case, name, self.not_compiled)
                continue
            if name.startswith("CUB") and (reason := self._not_cub()) is not None:
                self._skip(case, name, reason)
                continue
            yield name, function, case.same_of.get(name) or case.same_rival or case.same

    def _not_cub(self) -> str | None:
        return cub_topk.why_not() if self.clock.is_gpu else "CUB's selection needs a GPU"

    def _checked(
        self, case: Case, name: str, function: Callable[..., Any], same: Compare, inputs: Inputs, expected: Any
    ) -> Any:
        """A copy of the result; None where there is none, or a wrong one, which the report then says.

        Raises:
            torch.OutOfMemoryError: ours had too little. Then rivals, which take seconds there, would tell nothing.
        """
        try:
            result = kept(function(*inputs.arguments))
            inputs.restore()
            if expected is not None:
                same(result, expected, inputs.made)
            if name in OURS:  # the same inputs give the same bits
                identical(function(*inputs.arguments), result, inputs.made)
            self.clock.synchronize()
            return result
        except torch.OutOfMemoryError:
            if name in OURS:
                raise
            self._skip(case, name, "out of memory")
        except Exception as error:
            self._fail(case, name, error)
        finally:
            self._still_there()
            inputs.restore()
        return None

    def _time(self, case: Case, name: str, function: Callable[..., Any], sets: list[Inputs], source: str) -> None:
        calls = [lambda inputs=inputs: function(*inputs.arguments) for inputs in sets]
        resets = [inputs.restore for inputs in sets]
        try:
            kernel, method = self.clock.kernel(calls, resets, self.seconds)
            call = self.clock.call(calls, resets, self.seconds)
        except torch.OutOfMemoryError:
            self._skip(case, name, "out of memory while it was timed")
        except Exception as error:
            self._fail(case, name, error)
        else:
            self.report.put(row_of(case, name, method, kernel, call, self.copy_rate, source))
        finally:
            self._still_there()
            for inputs in sets:
                inputs.restore()

    def _still_there(self) -> None:
        try:
            self.clock.synchronize()
        except Exception as error:
            raise DeviceLost(str(error).splitlines()[0]) from error

    def _skip(self, case: Case, variant: str, reason: str) -> None:
        self.report.skipped.append((case.key, variant, reason))

    def _fail(self, case: Case, variant: str, error: Exception) -> None:
        text = (str(error).strip() or "no message").splitlines()[0]
        self.report.failed.append((case.key, variant, f"{type(error).__name__}: {text}"))


def kept(result: Any) -> Any:
    """A copy that later calls do not write over."""
    return tuple(map(kept, result)) if isinstance(result, (tuple, list)) else result.clone()


def row_of(
    case: Case, variant: str, method: str, kernel: Times, call: Times, bandwidth: float, compared_with: str
) -> Row:
    micro = 1e6
    return Row(
        case=case.key,
        operator=case.operator,
        shape="x".join(map(str, case.shape)),
        dtype=str(case.dtype).removeprefix("torch."),
        n_points=case.n_points,
        scores=case.scores,
        variant=variant,
        method=method,
        kernel_us=kernel.median * micro,
        kernel_p20_us=kernel.p20 * micro,
        kernel_p80_us=kernel.p80 * micro,
        kernel_rounds=kernel.rounds,
        call_us=call.median * micro,
        call_p20_us=call.p20 * micro,
        call_p80_us=call.p80 * micro,
        bytes_moved=case.bytes_moved,
        floor_us=case.bytes_moved / bandwidth * micro,
        fraction=fraction_of_floor(case.bytes_moved, bandwidth, kernel.median),
        compared_with=compared_with,
    )
