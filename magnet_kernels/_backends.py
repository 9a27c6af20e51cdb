"""Which implementation runs: automatic choice, forced choice, and the reason for each one that cannot run.

The compiled kernel of the tensors' device runs where it is live, else the reference. ``backend=`` or the environment
variable ``MAGNET_BACKEND`` (read at import) forces one; a forced one that is not there is an error that says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from magnet_kernels import _library, _loader

BACKENDS = ("cuda", "triton", "cpu", "reference")
_AUTO = "auto"
_FORCED = os.environ.get("MAGNET_BACKEND") or _AUTO
_REFERENCES: dict[str, Callable[..., Any]] = {}
_ELSEWHERE: dict[str, str] = {}  # backend: the namespace of its operators, for tensors on the CPU


def register_reference(operator: str, reference: Callable[..., Any]) -> None:
    """Record the reference of an operator, for forced choice and for reports."""
    _REFERENCES[operator] = reference


def register_namespace(backend: str, namespace: str) -> None:
    """Make a backend of the operators that a library implements in a namespace of its own, for tensors on the CPU.

    It runs only where it is asked for. The tests run CUDA kernels on the host in this way.
    """
    _library.mirror(namespace)
    _ELSEWHERE[backend] = namespace


def why_not(operator: str, backend: str) -> str | None:
    """None where ``backend`` can run ``operator``, else the reason why not."""
    if backend == "reference":
        return None
    if backend == "cpu":
        return _loader.cpu_reason(operator)
    if backend == "cuda":
        return _loader.cuda_reason(operator)
    if backend in _ELSEWHERE:
        live = _library.has_kernel(_ELSEWHERE[backend], operator, "CPU")
        return None if live else "the library holds no kernel of this operator"
    return "this version has no Triton kernels"


def available_backends() -> dict[str, dict[str, str]]:
    """{operator: {backend: "ok" or the reason why it cannot run}} for every operator."""
    return {
        operator: {backend: why_not(operator, backend) or "ok" for backend in BACKENDS}
        for operator in sorted(_REFERENCES)
    }


def choose(operator: str, backend: str, device_type: str, dispatched: Callable[..., Any]) -> Callable[..., Any]:
    """The callable that runs ``operator``: ``dispatched`` (the torch operator) or the reference itself.

    Raises:
        ValueError: ``backend`` is not a backend's name.
        RuntimeError: a forced backend cannot run here; the message says why.
    """
    if backend == _AUTO:
        backend = _FORCED
        if backend == _AUTO:
            if device_type == "cuda" and not torch.compiler.is_compiling() and _loader.cuda_reason(operator):
                return _REFERENCES[operator]  # a library that loads may still not know this GPU
            return dispatched
    if backend == "reference":
        return _REFERENCES[operator]
    if backend not in BACKENDS and backend not in _ELSEWHERE:
        raise ValueError(
            f"backend: expected 'auto' or one of {', '.join(BACKENDS)}, got {backend!r}; see 'magnet doctor'"
        )
    reason = why_not(operator, backend)
    if reason is None and device_type != ("cpu" if backend in _ELSEWHERE else backend):
        reason = f"the tensors are on {device_type}"
    if reason is not None:
        raise RuntimeError(
            f"backend: {backend!r} was asked for but cannot run {operator}: {reason}; use backend='auto'"
        )
    return _library.overload(_ELSEWHERE[backend], operator) if backend in _ELSEWHERE else dispatched
