"""How long calls take: on a GPU by graph replay between events with a cold L2, or on a CPU by its clock."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from gpu.arithmetic import Times, rounds_for

Call = Callable[[], Any]
GRAPH_REPLAY, BETWEEN_EVENTS, HOST_CLOCK = "graph replay", "calls between events", "host clock"
ROUNDS = 3, 50
FLUSH = 256 * 2**20  # bytes, at the least: several times the L2 of any GPU so far
COPY = 2 * 2**30


class Clock(Protocol):
    """Times functions. ``calls`` are the same work on other inputs, in turns; ``resets`` run before each, not timed."""

    device: str
    is_gpu: bool

    def kernel(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> tuple[Times, str]: ...

    def call(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> Times: ...

    def bandwidth(self) -> float: ...

    def empty_replay(self) -> float: ...

    def synchronize(self) -> None: ...

    def free(self) -> int: ...


class CudaClock:
    """Kernel time: CUDA-graph replays between events. Call time: the host's clock around a call and its completion."""

    device = "cuda"
    is_gpu = True

    def __init__(self) -> None:
        cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
        self.flushed = torch.rand(max(FLUSH, 4 * cache) // 4, device=self.device)
        self.sum = torch.zeros((), device=self.device)

    def flush(self) -> None:
        """Read more than L2 holds; what was written instead would have to be written back during the next round."""
        torch.sum(self.flushed, dim=0, out=self.sum)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def free(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    def bandwidth(self, size: int = COPY) -> float:
        """Bytes a second, read and written ones, of a large copy from device to device."""
        source = torch.rand(min(size, self.free() // 4) // 4, device=self.device)
        target = torch.empty_like(source)
        seconds = self._between_events([lambda: target.copy_(source)], [lambda: None], 0.5)
        return 2 * source.numel() * 4 / statistics.median(seconds)

    def empty_replay(self) -> float:
        """Seconds that the replay of a graph of one tiny kernel takes: what no kernel time here goes below."""
        tiny = torch.rand(32, device=self.device)
        return self.kernel([lambda: tiny.add_(1)], [lambda: None], 0.05)[0].median

    def kernel(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> tuple[Times, str]:
        graphs = self._capture(calls, resets)
        if graphs is None:
            return Times.of(self._between_events(calls, resets, seconds)), BETWEEN_EVENTS
        return Times.of(self._between_events([g.replay for g in graphs], resets, seconds)), GRAPH_REPLAY

    def call(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> Times:
        return Times.of(_by_host_clock(calls, resets, seconds, ROUNDS, self.synchronize, self.flush))

    def _capture(self, calls: Sequence[Call], resets: Sequence[Call]) -> list[torch.cuda.CUDAGraph] | None:
        """One graph a call, or None where the host takes part: the code waits for the device."""
        mode = torch.cuda.get_sync_debug_mode()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.cuda.set_sync_debug_mode("error")
                calls[0]()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        resets[0]()
        graphs, pool = [], torch.cuda.graph_pool_handle()  # one after the other, so that they can share memory
        for call in calls:
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    call()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                torch.cuda.synchronize()
                return None
            graphs.append(graph)
        return graphs

    def _between_events(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> list[float]:
        def start(turn: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            resets[turn % len(calls)]()
            self.flush()  # the device is still busy with it when the call below is queued
            begin.record()
            calls[turn % len(calls)]()
            end.record()
            return begin, end

        start(0)
        torch.cuda.synchronize()
        before = time.perf_counter()
        start(1)
        torch.cuda.synchronize()
        rounds = rounds_for(time.perf_counter() - before, seconds, *ROUNDS)
        events = [start(turn) for turn in range(rounds)]
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in events]


class CpuClock:
    """To try the program out where there is no GPU; its figures say nothing about one."""

    device = "cpu"
    is_gpu = False
    rounds = 2, 3

    def synchronize(self) -> None:
        pass

    def free(self) -> int:
        return 2**31

    def bandwidth(self, size: int = 2**24) -> float:
        source = torch.rand(size // 4)
        target = torch.empty_like(source)
        copy = [lambda: target.copy_(source)]
        return 2 * size / statistics.median(_by_host_clock(copy, [lambda: None], 0.02, self.rounds))

    def empty_replay(self) -> float:
        tiny = torch.rand(32)
        return self.call([lambda: tiny.add_(1)], [lambda: None], 0.01).median

    def kernel(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> tuple[Times, str]:
        return self.call(calls, resets, seconds), HOST_CLOCK

    def call(self, calls: Sequence[Call], resets: Sequence[Call], seconds: float) -> Times:
        return Times.of(_by_host_clock(calls, resets, seconds, self.rounds))


def _nothing() -> None:
    pass


def _by_host_clock(
    calls: Sequence[Call],
    resets: Sequence[Call],
    seconds: float,
    rounds: tuple[int, int],
    synchronize: Call = _nothing,
    flush: Call = _nothing,
) -> list[float]:
    def once(turn: int) -> float:
        resets[turn % len(calls)]()
        flush()
        synchronize()
        start = time.perf_counter()
        calls[turn % len(calls)]()
        synchronize()
        return time.perf_counter() - start

    once(0)
    return [once(turn) for turn in range(rounds_for(once(1), seconds, *rounds))]
