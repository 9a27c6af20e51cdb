"""Walking over fields side by side: while one reads, another goes through the networks, and a third is written.

A thread takes one group of fields after the other through the networks. One of them computes at a time, as torch has
threads of its own; whoever waits for the file lets the next one compute. What the next group begins with is read
meanwhile, and a thread of its own writes. Groups know nothing of each other, so that results do not depend on how they
took turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["WORKERS", "Turns", "each_group"]

WORKERS = 2  # groups of fields under way: one waits for what it reads while the other computes

T = TypeVar("T")
Group = TypeVar("Group")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


class Turns:
    """Whose turn it is to compute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Within it, no other thread of this object computes, but while it waits by :meth:`result` or :meth:`fetch`.

        Raises:
            CancelledError: from these methods, too: :meth:`stop` was called.
        """
        with self._lock:
            self._check()
            yield

    def result(self, future: Future[T]) -> T:
        """Within :meth:`computing`: the result of a future. Others compute until it is there."""
        if not future.done():
            with self._waiting():
                wait([future])
        self._check()
        return future.result()

    def fetch(self, values: Tensor) -> Tensor:
        """Within :meth:`computing`: a tensor on the CPU. Others may compute until a GPU has made it."""
        if values.device.type != "cuda":
            return values.cpu()
        found = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        with torch.cuda.device(values.device):
            found.copy_(values, non_blocking=True)
            made = torch.cuda.Event()
            made.record()
        with self._waiting():
            made.synchronize()
        self._check()
        return found

    def stop(self) -> None:
        """Let nobody compute any more: who does stops where it would wait next."""
        self._stopped = True

    def _check(self) -> None:
        if self._stopped:
            raise CancelledError

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()


def each_group(
    groups: Iterable[Group],
    *,
    prepare: Callable[[Group], Prepared],
    compute: Callable[[Prepared], Result],
    write: Callable[[Result], None],
    workers: int,
    stop: Callable[[], None],
) -> Generator[Group]:
    """Each group prepared, computed and written; yields it when that is done.

    An error of one ends all: those that are under way are finished, no other is begun, and the first error is raised.
    Where the caller stops, or is interrupted, they are not finished. No thread outlives this generator.

    Args:
        groups: to be done.
        prepare: begins to read what ``compute`` starts with, and does not wait; by the thread of the caller, one group
            ahead of those that are computed.
        compute: on ``workers`` threads.
        write: on one thread.
        workers: groups that are computed at a time.
        stop: called where it is interrupted: makes ``compute`` end soon.
    """
    left = iter(groups)
    computing = ThreadPoolExecutor(workers, thread_name_prefix="magnet-field")
    writing = ThreadPoolExecutor(1, thread_name_prefix="magnet-write")
    running: dict[Future[Future[None]], Group] = {}
    written: dict[Future[None], Group] = {}

    def compute_and_write(prepared: Prepared) -> Future[None]:
        return writing.submit(write, compute(prepared))

    def begin() -> None:
        # one is prepared and one may be written: what waits for a slow disc is bounded, too
        while len(running) < workers + 1 and len(running) + len(written) < workers + 2:
            for group in left:
                running[computing.submit(compute_and_write, prepare(group))] = group
                break
            else:
                return

    try:
        begin()
        while running or written:
            under_way: list[Future[Any]] = [*running, *written]
            wait(under_way, return_when=FIRST_COMPLETED)
            for future in [one for one in running if one.done()]:
                group = running.pop(future)
                written[future.result()] = group
            done = [one for one in written if one.done()]
            groups_done = [(written.pop(one), one.result())[0] for one in done]
            begin()
            yield from groups_done
    except BaseException as error:
        if not isinstance(error, Exception):  # interrupted, or the caller wants no more
            stop()
        raise
    finally:
        computing.shutdown(wait=True, cancel_futures=True)
        writing.shutdown(wait=True)  # what was computed is kept
