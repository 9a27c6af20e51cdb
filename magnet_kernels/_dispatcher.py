"""What torch's dispatcher knows of an operator: whoever told it, Python or a compiled library."""

from __future__ import annotations

from typing import Any

import torch

NAMESPACE = "magnet_kernels"


def overload(namespace: str, name: str) -> Any:
    """The default overload of an operator."""
    return getattr(getattr(torch.ops, namespace), name).default


def has_kernel(namespace: str, name: str, key: str) -> bool:
    """Whether an operator has an implementation of its own for a dispatch key such as "CPU"."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"{namespace}::{name}", key)


def defined_schema(namespace: str, name: str) -> torch.FunctionSchema | None:
    """The schema that an operator is defined with, or None where nobody has defined it."""
    schemas = torch._C._jit_get_schemas_for_operator(f"{namespace}::{name}")
    return next((schema for schema in schemas if not schema.overload_name), None)
