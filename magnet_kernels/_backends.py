"""Which implementation runs: automatic choice, forced choice, and the reason for each one that cannot run.

On a GPU the compiled CUDA kernel runs where it is live, then the Triton kernel, then the reference; on the CPU the
compiled kernel, then the reference. ``backend=`` or the environment variable ``MAGNET_BACKEND`` (read at import) forces
one; a forced one that is not there is an error that says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from magnet_kernels import _dispatcher, _library, _loader, _memory, _transforms, _triton

_AUTO = "auto"
_FORCED = os.environ.get("MAGNET_BACKEND") or _AUTO
_REFERENCES: dict[str, Callable[..., Any]] = {}


class Backend(NamedTuple):
    """One implementation of the operators.

    devices: kinds of devices whose tensors it takes; empty: all. namespace: of its operators, where they are not those
    that torch dispatches. why_not: an operator and the number of a GPU (None: the current one) -> why it cannot run
    there, or None.
    """

    devices: tuple[str, ...]
    namespace: str | None
    why_not: Callable[[str, int | None], str | None]


_TABLE: dict[str, Backend] = {
    "cuda": Backend(("cuda",), None, lambda operator, device: _loader.cuda_reason(operator, device)),
    "triton": Backend(("cuda",), _triton.NAMESPACE, lambda operator, device: _triton.reason(operator, device)),
    "cpu": Backend(("cpu",), None, lambda operator, device: _loader.cpu_reason(operator)),
    "reference": Backend((), None, lambda operator, device: None),
}
BACKENDS = tuple(_TABLE)  # without those that are registered later


def register_reference(operator: str, reference: Callable[..., Any]) -> None:
    """Record the reference of an operator, for forced choice and for reports."""
    _REFERENCES[operator] = reference


def load() -> None:
    """Define the Triton operators, once every operator is registered."""
    _triton.register(_REFERENCES)


def register_namespace(backend: str, namespace: str) -> None:
    """Make a backend of the operators that a library implements in a namespace of its own, for tensors on the CPU.

    It runs only where it is asked for. The tests run CUDA kernels on the host in this way.
    """
    _library.mirror(namespace)

    def why_not(operator: str, device: int | None) -> str | None:
        live = _dispatcher.has_kernel(namespace, operator, "CPU")
        return None if live else "the library holds no kernel of this operator"

    _TABLE[backend] = Backend(("cpu",), namespace, why_not)


def why_not(operator: str, backend: str, device: int | None = None) -> str | None:
    """None where ``backend`` can run ``operator``, if on a GPU on that one (None: the current one), else why not."""
    return _TABLE[backend].why_not(operator, device)


def available_backends() -> dict[str, dict[str, str]]:
    """{operator: {backend: "ok" or the reason why it cannot run}} for every operator."""
    return {
        operator: {backend: why_not(operator, backend) or "ok" for backend in BACKENDS}
        for operator in sorted(_REFERENCES)
    }


def _best_on_gpu(operator: str, device: int | None) -> str:
    """The backend that automatic choice takes for tensors on a GPU. A library that loads may not know this GPU."""
    if not torch.cuda.is_available():
        return "cuda"  # such tensors are fake: what is traced here, as for torch.export, is the operator itself
    return next(backend for backend in ("cuda", "triton", "reference") if why_not(operator, backend, device) is None)


# What torch.compiler.assume_constant_result does, without its import of the whole compiler.
_best_on_gpu._dynamo_marked_constant = True  # type: ignore[attr-defined]


def choose(operator: str, backend: str, device: torch.device, dispatched: Callable[..., Any]) -> Callable[..., Any]:
    """The callable that runs ``operator`` on tensors of ``device``.

    That is ``dispatched`` (the torch operator), another backend's, or the reference.

    Raises:
        ValueError: ``backend`` is not a backend's name.
        RuntimeError: a forced backend cannot run here; the message says why.
    """
    run = _choose(operator, backend, device, dispatched)
    if torch.compiler.is_compiling():
        return run
    if _transforms.active():
        run = _transforms.carried(operator, run)
    return _memory.translated(operator, device, run)


def _choose(operator: str, backend: str, device: torch.device, dispatched: Callable[..., Any]) -> Callable[..., Any]:
    mend = "use backend='auto'"
    if backend == _AUTO:
        backend, mend = _FORCED, "unset MAGNET_BACKEND"
        if backend == _AUTO:
            if device.type != "cuda":
                return dispatched
            backend = _best_on_gpu(operator, device.index)
            if backend == "cuda":
                return dispatched
    if backend == "reference":
        return _REFERENCES[operator]
    known = _TABLE.get(backend)
    if known is None:
        raise ValueError(
            f"backend: expected 'auto' or one of {', '.join(BACKENDS)}, got {backend!r}; see 'magnet doctor'"
        )
    reason = why_not(operator, backend, device.index)
    if reason is None and device.type not in known.devices:
        reason = f"the tensors are on {device.type}"
    if reason is not None:
        raise RuntimeError(f"backend: {backend!r} was asked for but cannot run {operator}: {reason}; {mend}")
    return dispatched if known.namespace is None else _dispatcher.overload(known.namespace, operator)
