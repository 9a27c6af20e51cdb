"""Training samples made by worker processes while the network trains: the same ones for every number of workers.

Item ``i`` of step ``s`` is drawn by a generator of its own, ``default_rng((seed, stage, s, i))``. So a sample does not
depend on who makes it, on the samples before it, or on where a run was resumed.

Memory: workers are forked where the system can (Linux), and share with the parent the images that it has cached
(:class:`magnet.data.ScaleCache`), however many workers there are. Beyond that a worker holds one decoded image and the
samples of up to two steps. Where workers are spawned instead, they share no cache and read every image anew.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from magnet.errors import MagNetError
from magnet.training.signals import Interrupted

__all__ = ["Loader", "Samples"]

LONGEST_WAIT = 1200.0  # seconds without a batch, after which there will be none
_LOOK_EVERY = 1.0  # seconds: whether all workers live, and whether a signal came
_TIME_TO_END = 5.0  # seconds that workers are given before they are killed


class Samples(Protocol):
    """Draws samples. Picklable, as worker processes get a copy."""

    def draw(self, rng: np.random.Generator) -> Any:
        """One sample, which depends on ``rng`` alone."""
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples as one batch: a NamedTuple of tensors and plain values."""
        ...


class _Failure(NamedTuple):
    """What went wrong in a worker: an exception of its own would come with a page of traceback."""

    message: str


class _Steps(Dataset[Any]):
    """Number of a step -> its batch, in parts."""

    def __init__(self, samples: Samples, key: tuple[int, int], parts: Sequence[Sequence[int]]) -> None:
        self._samples, self._key, self._parts = samples, key, parts

    def __getitem__(self, step: int) -> list[Any] | _Failure:
        item = -1
        try:
            batches = []
            for items in self._parts:
                drawn = []
                for item in items:
                    drawn.append(self._samples.draw(np.random.default_rng((*self._key, step, item))))
                batches.append(self._samples.collate(drawn))
            return _shared(batches) if torch.utils.data.get_worker_info() is not None else batches
        except MagNetError as error:
            return _Failure(str(error))
        except Exception as error:
            return _Failure(f"data: sample {item} of step {step} could not be made ({type(error).__name__}: {error})")


class Loader:
    """The batches of the steps ``first`` to ``last - 1``, in order.

    Args:
        samples: draws the samples.
        key: (seed, number of the stage), which every sample's generator starts from.
        parts: numbers of the items of a step that this process makes, in as many parts as its batch is cut into.
        first: step to begin at.
        last: step to end before.
        workers: processes that make samples ahead of time; 0 = made when they are asked for.
        pin: put batches where a GPU can fetch them while it works.
        stopped: asked in a wait of more than a second, which a yes ends.
    """

    def __init__(
        self,
        samples: Samples,
        key: tuple[int, int],
        parts: Sequence[Sequence[int]],
        first: int,
        last: int,
        *,
        workers: int = 0,
        pin: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stopped = stopped
        self._workers = workers = min(workers, max(last - first, 0))
        loader = DataLoader(
            _Steps(samples, key, parts),
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            multiprocessing_context=_context() if workers else None,
            worker_init_fn=_start_worker if workers else None,
            timeout=_LOOK_EVERY if workers else 0,
            collate_fn=_unchanged,
            pin_memory=pin,
            # a generator of its own: the default one is the training's, and must not depend on the loader
            generator=torch.Generator(),
        )
        self._signal = _QuietSignal()
        try:
            self._batches: Any = iter(loader)
            if workers:
                self._signal.start()
        except RuntimeError as error:
            raise self._ended(error) from error
        except OSError as error:
            raise MagNetError(
                f"data: {workers} loader processes cannot be started ({error.strerror or error}); lower data.workers, "
                "or make samples in the training itself (--data.workers 0)"
            ) from error

    def next(self) -> tuple[list[Any], float]:
        """The parts of the next step, and the seconds that they were waited for.

        Raises:
            MagNetError: a sample could not be made, a worker ended, or none gave a sample for a long time.
            Interrupted: it was stopped while it waited.
        """
        start = time.perf_counter()
        batch = self._wait(start)
        if isinstance(batch, _Failure):
            raise MagNetError(batch.message)
        return batch, time.perf_counter() - start

    def _wait(self, start: float) -> Any:
        while True:
            try:
                return next(self._batches)
            except (OSError, EOFError) as error:  # what a process that is killed while it sends leaves behind
                raise self._ended(error) from error
            except RuntimeError as error:
                if str(error).startswith("DataLoader worker"):
                    raise self._ended(error) from error
                if not str(error).startswith("DataLoader timed out"):
                    raise
                if self._stopped():
                    raise Interrupted from None
                if time.perf_counter() - start > LONGEST_WAIT:
                    raise MagNetError(
                        f"data: the loader processes gave no batch for {LONGEST_WAIT:g} s; make samples in the "
                        "training itself (--data.workers 0) to see where they stop"
                    ) from error

    def _ended(self, error: Exception) -> MagNetError:
        what = (str(error).splitlines() or [""])[0].rstrip(". ") or type(error).__name__
        return MagNetError(
            f"data: a loader process ended ({what}), most often for lack of memory; lower data.workers or "
            "data.cache_mb, or make samples in the training itself (--data.workers 0)"
        )

    def close(self) -> None:
        """End the workers, by force where they do not hear."""
        try:
            workers = list(getattr(self._batches, "_workers", ()))
            if workers:
                force = threading.Timer(_TIME_TO_END, _kill, (workers,))
                force.daemon = True
                force.start()
                self._batches._shutdown_workers()
                force.cancel()
                _kill(workers)
                for worker in workers:
                    worker.join(_TIME_TO_END)
            self._batches = None
        finally:
            self._signal.stop()


class _QuietSignal:
    """Keeps torch's handler of the signal that a process has ended from raising, wherever the training is.

    Who waits for a batch finds within ``_LOOK_EVERY`` seconds that a worker has ended, and then it is told.
    """

    def __init__(self) -> None:
        self._before: Any = None

    def start(self) -> None:
        """From the main thread, which alone handles signals; from another one this does nothing."""
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler):
            self._before = handler
            signal.signal(signal.SIGCHLD, self._handle)

    def stop(self) -> None:
        if self._before is not None and signal.getsignal(signal.SIGCHLD) == self._handle:
            signal.signal(signal.SIGCHLD, self._before)
        self._before = None

    def _handle(self, number: int, frame: Any) -> None:
        try:
            self._before(number, frame)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise


def _kill(workers: Sequence[Any]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def _shared(batches: list[Any]) -> list[Any]:
    """The tensors of batches in shared memory: a lack of it in the thread that sends them would be lost."""
    for batch in batches:
        for value in batch:
            if isinstance(value, torch.Tensor):
                try:
                    value.share_memory_()
                except RuntimeError as error:
                    raise MagNetError(
                        f"data: a loader process has too little shared memory for a batch ({str(error).splitlines()[0]}"
                        "); enlarge /dev/shm (docker run --shm-size=8g), lower data.workers, or make samples in the "
                        "training itself (--data.workers 0)"
                    ) from error
    return batches


def _context() -> Any:
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def _start_worker(_: int) -> None:
    # the parent ends its workers when it has saved what must be saved; signals to the whole group reach it, too
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _unchanged(batch: Any) -> Any:
    return batch
