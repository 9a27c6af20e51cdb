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
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from magnet.errors import MagNetError

__all__ = ["Loader", "Samples"]


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
            return batches
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
    ) -> None:
        workers = min(workers, max(last - first, 0))
        self._batches: Iterator[Any] | None = iter(
            DataLoader(
                _Steps(samples, key, parts),
                batch_size=None,
                sampler=range(first, last),
                num_workers=workers,
                multiprocessing_context=_context() if workers else None,
                worker_init_fn=_start_worker if workers else None,
                collate_fn=_unchanged,
                pin_memory=pin,
                # a generator of its own: the default one is the training's, and must not depend on the loader
                generator=torch.Generator(),
            )
        )

    def next(self) -> tuple[list[Any], float]:
        """The parts of the next step, and the seconds that they were waited for.

        Raises:
            MagNetError: a sample could not be made, or a worker ended.
        """
        assert self._batches is not None
        start = time.perf_counter()
        try:
            batch = next(self._batches)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MagNetError(
                f"data: a loader process ended ({str(error).splitlines()[0].rstrip('. ')}), most often for lack of "
                "memory; lower data.workers or data.cache_mb"
            ) from error
        if isinstance(batch, _Failure):
            raise MagNetError(batch.message)
        return batch, time.perf_counter() - start

    def close(self) -> None:
        """End the workers."""
        self._batches = None


def _context() -> Any:
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def _start_worker(_: int) -> None:
    # the parent ends its workers when it has saved what must be saved; signals to the whole group reach it, too
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _unchanged(batch: Any) -> Any:
    return batch
