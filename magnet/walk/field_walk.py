"""Walking over fields side by side: while one reads, another goes through the networks.

A thread takes one field after the other and does all of it. One of them computes at a time, as torch has threads of its
own; whoever waits for the file lets the next one compute. Fields know nothing of each other, so that results do not
depend on how they took turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from magnet.walk.fields import Field

__all__ = ["WORKERS", "Turns", "each_field"]

WORKERS = 2  # fields under way: one reads while the other computes


class Turns:
    """Whose turn it is to compute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Within it, no other thread of this object computes, but while it is :meth:`waiting`."""
        with self._lock:
            yield

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within :meth:`computing`: others may compute until it is left."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()


def each_field(fields: Iterable[Field], work: Callable[[Field], None], workers: int) -> Iterator[Field]:
    """Call ``work`` for each field on ``workers`` threads; yields each field when it is done.

    An error of one ends all: those that are under way are finished, no other is begun, and the first error is raised.
    So they are where the caller stops, or is interrupted.
    """
    left = iter(fields)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="magnet-field")
    running: dict[Future[None], Field] = {}

    def begin() -> None:
        for field in left:
            running[pool.submit(work, field)] = field
            return

    try:
        for _ in range(workers):
            begin()
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                field = running.pop(future)
                future.result()
                begin()
                yield field
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
