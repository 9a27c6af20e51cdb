"""What Triton would compile for a launch."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["source_of"]


def source_of(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Any:
    """What triton would compile for these arguments: 1 as a constant, multiples of 16 known to be such."""
    from triton.compiler import ASTSource
    from triton.runtime.jit import mangle_type

    signature, values, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = constants[parameter.name] if parameter.name in constants else arguments[i]
        specialised = not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (specialised and isinstance(value, int) and value == 1):
            signature[parameter.name], values[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = mangle_type(value)
        divisible = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if specialised and isinstance(divisible, int) and divisible % 16 == 0:
            attributes[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, values, attributes)
