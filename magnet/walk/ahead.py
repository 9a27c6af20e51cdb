"""Reading ahead: the results of calls in their order, each begun before it is needed, by a few threads."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["READERS", "Ahead", "readers"]

READERS = 2  # threads: what each has decoded stays with it, and two hide what takes as long as the networks

T = TypeVar("T")


@contextlib.contextmanager
def readers(threads: int = READERS) -> Iterator[Executor]:
    """Threads that read. However it is left, they end: what they read is finished, what they did not begin is not."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="magnet-read")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Ahead(Generic[T]):
    """The results of calls in their order, as futures; an iterator.

    Args:
        pool: runs the calls; None: each is run when it is taken.
        calls: taken one by one, by the thread that takes the results. An error of theirs is the last result.
        most: how many are begun, or done, and not taken yet.
    """

    def __init__(self, pool: Executor | None, calls: Iterable[Callable[[], T]], most: int) -> None:
        self._pool = pool
        self._calls = iter(calls)
        self._begun: deque[Future[T]] = deque()
        for _ in range(most if pool is not None else 0):
            self._begin()

    def __iter__(self) -> Iterator[Future[T]]:
        return self

    def __next__(self) -> Future[T]:
        if not self._begun:
            self._begin()
        if not self._begun:
            raise StopIteration
        future = self._begun.popleft()
        if self._pool is not None:
            self._begin()
        return future

    def _begin(self) -> None:
        future: Future[T] = Future()
        try:
            call = next(self._calls)
            if self._pool is not None:
                future = self._pool.submit(call)
            else:
                future.set_result(call())
        except StopIteration:
            return
        except Exception as error:
            self._calls = iter(())  # after an error a generator has no more
            future.set_exception(error)
        self._begun.append(future)
