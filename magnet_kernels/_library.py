"""The operator library: one place that declares schemas and ties reference, fake and autograd to them.

The schemas live in Python; compiled libraries hold only implementations. The plain-torch reference is the
composite kernel of every operator, so each exists with nothing compiled, and compiled kernels override it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "magnet_kernels"
_LIBRARY = torch.library.Library(NAMESPACE, "DEF")


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
    qualified = f"{NAMESPACE}::{name}"
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(qualified, fake, lib=_LIBRARY)
    if backward is not None:
        torch.library.register_autograd(qualified, backward, setup_context=setup_context, lib=_LIBRARY)
    return getattr(torch.ops.magnet_kernels, name).default
