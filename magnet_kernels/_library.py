"""The operator library: one place that declares schemas and ties reference, fake and autograd to them.

The plain-torch reference is the composite kernel of every operator, so each exists with nothing compiled, and compiled
kernels override it. Schemas are written in ``magnet_kernels/ops``. The compiled library for the CPU has those of its
operators once more, for programs without Python: it is loaded first, and what it has defined must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from magnet_kernels import _loader
from magnet_kernels._dispatcher import NAMESPACE, defined_schema, overload

_loader.load()
_LIBRARIES = {NAMESPACE: torch.library.Library(NAMESPACE, "DEF")}


class _Definition(NamedTuple):
    schema: str
    fake: Callable[..., Any]
    backward: Callable[..., Any] | None
    setup_context: Callable[..., None] | None


_DEFINITIONS: dict[str, _Definition] = {}


def define(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> Any:
    """Define an operator from its schema and return its default overload.

    Operators that write to an argument have no ``backward``: their public functions take another way under autograd.
    """
    name = schema.split("(", 1)[0]
    _DEFINITIONS[name] = _Definition(schema, fake, backward, setup_context)
    _define_in(NAMESPACE, name)
    _LIBRARIES[NAMESPACE].impl(name, reference, "CompositeExplicitAutograd")
    return overload(NAMESPACE, name)


def mirror(namespace: str) -> None:
    """Define every operator once more, in a namespace whose implementations a library brings."""
    _LIBRARIES[namespace] = torch.library.Library(namespace, "DEF")
    for name in _DEFINITIONS:
        _define_in(namespace, name)


def implement(namespace: str, name: str, function: Callable[..., Any], key: str) -> None:
    """Register an implementation for a dispatch key such as "CUDA"."""
    _LIBRARIES[namespace].impl(name, function, key)


def _define_in(namespace: str, name: str) -> None:
    library, (schema, fake, backward, setup_context) = _LIBRARIES[namespace], _DEFINITIONS[name]
    qualified = f"{namespace}::{name}"
    compiled = defined_schema(namespace, name)
    if compiled is None:
        library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    elif compiled != torch._C.parse_schema(f"{namespace}::{schema}"):
        raise ImportError(
            f"magnet_kernels: expected the compiled library to define {schema}, got {compiled}; it was built from "
            "other sources, reinstall with 'pip install --force-reinstall --no-deps .'"
        )
    torch.library.register_fake(qualified, fake, lib=library)
    if backward is None:
        return

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.namespace = namespace  # for a backward that runs the operator once more
        if setup_context is not None:
            setup_context(ctx, inputs, output)

    torch.library.register_autograd(qualified, backward, setup_context=remember, lib=library)
