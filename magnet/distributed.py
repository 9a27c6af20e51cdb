"""Several processes as one: what training and evaluation need of ``torch.distributed``, and nothing without torchrun.

``torchrun --nproc-per-node N -m magnet train ...`` starts the processes; ``session`` joins them. Without torchrun every
function here is that of one process: rank 0 of 1, sums of one term, nothing to wait for.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import re
import socket
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from magnet.errors import MagNetError

__all__ = [
    "all_reduce_sum",
    "any_rank",
    "barrier",
    "check_same",
    "check_shared",
    "gather_objects",
    "global_kth_smallest",
    "global_max",
    "global_sum",
    "is_main",
    "local_batch",
    "rank",
    "session",
    "shard",
    "world_size",
]

Item = TypeVar("Item")


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, 0 to ``world_size() - 1``."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """Number of processes that work together; 1 without torchrun."""
    return dist.get_world_size() if _joined() else 1


def is_main() -> bool:
    """Whether this is rank 0, the one process that writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def shard(items: Iterable[Item]) -> list[Item]:
    """This process's part of ``items``: every ``world_size()``-th from ``rank()`` on."""
    return list(items)[rank() :: world_size()]


def gather_objects(items: Sequence[Item]) -> list[Item]:
    """The items of all processes, on every process, in the order that ``shard`` took them from.

    Args:
        items: this process's part, of any picklable type.
    """
    parts: list[Any] = [list(items)]
    if world_size() > 1:
        parts = [None] * world_size()
        dist.all_gather_object(parts, list(items))
    longest = max(len(part) for part in parts)
    return [part[k] for k in range(longest) for part in parts if k < len(part)]


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors (same shape and dtype), on every process; integers are exact. No gradient."""
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_max(number: int) -> int:
    """The largest of the processes' numbers. Every process must ask at the same place of the work."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is True on any process. Every process must ask at the same place of the work."""
    return bool(global_max(int(flag)))


class _GlobalSum(torch.autograd.Function):
    """Sum over processes whose gradient is scaled for DistributedDataParallel.

    Every process computes the same loss L from the sum s, so dL/ds is known to each, and its own share of the gradient
    needs no communication. DistributedDataParallel then takes the mean over the processes, where the sum is right:
    hence the factor.
    """

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return all_reduce_sum(x)

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * world_size()


def global_sum(x: Tensor) -> Tensor:
    """The sum of the processes' ``x``, for a loss that every process computes alike from such sums.

    The mean over processes of the gradients, which DistributedDataParallel takes, is then the gradient of that loss.
    """
    return x if world_size() == 1 else _GlobalSum.apply(x)  # type: ignore[no-any-return]


def global_kth_smallest(values: Tensor, k: int) -> Tensor:
    """The ``k``-th smallest (0 is the smallest) of the values of all processes, a scalar. No gradient.

    Args:
        values: (n,) floats of this process, any n, not NaN; all processes together have more than ``k``.
        k: the same on every process. At most k + 1 values of each process travel.
    """
    values = values.detach()
    if world_size() > 1:
        # the k + 1 smallest of all are among the k + 1 smallest of each
        own = values.new_full((k + 1,), float("inf"))
        count = min(k + 1, values.numel())
        own[:count] = values.topk(count, largest=False, sorted=False).values
        parts = [torch.empty_like(own) for _ in range(world_size())]
        dist.all_gather(parts, own)
        values = torch.cat(parts)
    return values.kthvalue(k + 1).values


def local_batch(key: str, batch_size: int) -> int:
    """Images of a step on this process, where ``batch_size`` counts those of all.

    Raises:
        MagNetError: the processes cannot share ``batch_size`` evenly; ``key`` names the setting.
    """
    if batch_size % world_size():
        raise MagNetError(
            f"{key}: expected a multiple of the {world_size()} processes that torchrun started, as it counts the "
            f"images of all of them together, got {batch_size}; set it to {_next_multiple(batch_size)}"
        )
    return batch_size // world_size()


def _next_multiple(number: int) -> int:
    return -(-number // world_size()) * world_size()


def check_same(what: str, value: object) -> None:
    """Raise MagNetError on every process if ``value`` differs between them, as with other data on one machine."""
    if world_size() == 1:
        return
    values = gather_objects([(value, socket.gethostname())])
    for number, (other, host) in enumerate(values):
        if other != values[0][0]:
            raise MagNetError(
                f"{what}: expected the same on every process, got {values[0][0]!r} on rank 0 ({values[0][1]}) and "
                f"{other!r} on rank {number} ({host}); give every machine the same files and arguments"
            )


def check_shared(key: str, path: Path) -> None:
    """Raise MagNetError unless every process sees ``path``, which rank 0 has written."""
    barrier()
    seen = gather_objects([(path.exists(), socket.gethostname())])
    blind = [f"rank {number} ({host})" for number, (found, host) in enumerate(seen) if not found]
    if blind:
        raise MagNetError(
            f"{key}: '{path}', written by rank 0, cannot be seen by {', '.join(blind)}; "
            "use a folder that every machine shares"
        )


@contextlib.contextmanager
def session(device: str = "auto", *, timeout: float = 600.0) -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end; does nothing without torchrun.

    Inside, "cuda" is the GPU of LOCAL_RANK, and only rank 0 prints (standard output of the others is dropped; their
    errors are not). Nested sessions are the outermost one. On the CPU an error that ends the session loses the local
    variables of its traceback: what they hold has to go first.

    Args:
        device: "auto", "cpu" or "cuda", as in the configuration: NCCL joins GPUs, Gloo joins CPUs.
        timeout: seconds after which a process that waits for another gives up.

    Raises:
        MagNetError: more processes than GPUs; the processes do not find each other; inside, the error of this process
            with its rank, or that another process is gone.
    """
    if _joined() or not (dist.is_available() and dist.is_torchelastic_launched()):
        yield
        return
    try:
        number, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    except (KeyError, ValueError) as error:
        raise MagNetError(
            f"torchrun: expected the environment to hold RANK and LOCAL_RANK, got {error}; start the processes with "
            "torchrun, or unset TORCHELASTIC_RUN_ID for one process"
        ) from error
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    try:
        if on_gpu:
            _take_gpu(local)
        # tensors on the CPU travel too: confusion matrices, python objects
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        raise MagNetError(
            f"rank {number}: could not join the other processes ({_first_line(error)}); check that all of them were "
            "started, and that MASTER_ADDR and MASTER_PORT can be reached"
        ) from error
    try:
        with contextlib.ExitStack() as stack:
            if number > 0:
                sink = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(sink))
            yield
    except SystemExit as stop:  # as after a signal to one process, of which the others have learnt
        if not on_gpu:
            _leave(stop)
        raise
    except Exception as error:
        if not on_gpu:  # the others learn of it at once; NCCL, which would wait for them, ends with the process
            _leave(error)
        if _is_of_connection(error):
            raise MagNetError(
                f"rank {number}: lost the other processes ({_first_line(error)}): one of them ended, and says why in "
                f"its own message, or was silent for {timeout:.0f} s; start again with --resume"
            ) from error
        if number == 0:
            raise
        kind = "" if isinstance(error, MagNetError) else f"{type(error).__name__}: "
        raise MagNetError(f"rank {number}: {kind}{error}") from error
    _leave()


def _leave(error: BaseException | None = None) -> None:
    """Leave the other processes; ``error`` is why, and loses the variables of the functions that it ended.

    The group ends with its last owner, and waits for its threads, which may want the interpreter's lock. A reference
    of Python's gives the lock up for that time, a DistributedDataParallel keeps it, and both would wait for ever. The
    functions that ``error`` ended may hold one: it has to go before the group.
    """
    group = dist.group.WORLD
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    dist.destroy_process_group()
    del group


def _take_gpu(local: int) -> None:
    if not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch finds no usable GPU; use --device cpu")
    count = torch.cuda.device_count()
    if local >= count:
        raise ValueError(
            f"torchrun started more processes on this machine than the {count} GPUs that torch finds; "
            f"use --nproc-per-node {count}, or --device cpu"
        )
    torch.cuda.set_device(local)


def _first_line(error: Exception) -> str:
    """The first sentence of an error, without the place in the source that Gloo puts before it."""
    text = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip()) or type(error).__name__
    return text.splitlines()[0].split(". ")[0]


def _is_of_connection(error: Exception) -> bool:
    """Whether a collective operation failed, rather than the work between them."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in ("gloo", "NCCL"))
