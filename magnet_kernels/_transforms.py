"""Operators under torch.func: grad, vjp and vmap work, nested too; forward mode is one clear error.

Operators with gradients registered by torch.library do not compose with torch.func, so that there an operator runs
inside an autograd.Function made of the same parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from magnet_kernels import _library

# Operators whose every tensor has the images as its first dimension: the dimension of vmap becomes more of them.
_BY_IMAGE = frozenset(
    {
        "confidence",
        "median_blur",
        "uncertainty_score",
        "select_points",
        "replace_points",
        "refine_step",
        "upsample_confidence",
        "upsample_backward",
    }
)


def active() -> bool:
    """Whether a transform of torch.func, or forward-mode differentiation, is in force."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def carried(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """``run``, a torch operator or a reference, made fit for the transforms in force."""
    if isinstance(run, torch._ops.OpOverload):
        return lambda *arguments: _Transformed.apply(run, *arguments)

    def reference(*arguments: Any) -> Any:
        if any(isinstance(x, Tensor) and torch._C._functorch.is_batchedtensor(x) for x in arguments):
            raise RuntimeError(f"{name}: the reference was asked for but does not run under vmap; use backend='auto'")
        return run(*arguments)

    return reference


def run(operator: Any, *arguments: Any) -> Any:
    """Call a torch operator in a backward, which transforms may work on as well."""
    if torch.compiler.is_compiling() or not active():
        return operator(*arguments)
    return _Transformed.apply(operator, *arguments)


def refuse(name: str, instead: str) -> None:
    """Raise where a transform is in force: it cannot follow what is written into memory."""
    if not torch.compiler.is_compiling() and active():
        raise RuntimeError(f"{name}: expected no transform of torch.func, which does not see writes; use {instead}")


def _name(operator: Any) -> str:
    return operator._schema.name.split("::")[1]


class _Transformed(torch.autograd.Function):
    """One call of an operator, with the gradient that is registered for it."""

    @staticmethod
    def forward(operator: Any, *arguments: Any) -> Any:
        return operator(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        operator, *arguments = inputs
        ctx.operator_name, ctx.namespace = _name(operator), operator.namespace
        definition = _library._DEFINITIONS[ctx.operator_name]
        if definition.backward is None:
            ctx.mark_non_differentiable(*(output if isinstance(output, tuple) else (output,)))
        elif definition.setup_context is not None:
            definition.setup_context(ctx, tuple(arguments), output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        backward = _library._DEFINITIONS[ctx.operator_name].backward
        assert backward is not None
        gradients = backward(ctx, *grads)
        return None, *(gradients if isinstance(gradients, tuple) else (gradients,))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(
            f"{ctx.operator_name}: forward-mode differentiation is not there; use backward(), torch.func.grad or vjp"
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], operator: Any, *arguments: Any) -> tuple[Any, Any]:
        size, dims = info.batch_size, in_dims[1:]
        if _name(operator) in _BY_IMAGE:
            folded = (_fold(x, dim, size) for x, dim in zip(arguments, dims, strict=True))
            result = _Transformed.apply(operator, *folded)
            results = result if isinstance(result, tuple) else (result,)
            results = tuple(x.unflatten(0, (size, x.shape[0] // size)) for x in results)
        else:  # boxes hold the number of an image: one call for each
            runs = [
                _Transformed.apply(operator, *(_pick(x, dim, i) for x, dim in zip(arguments, dims, strict=True)))
                for i in range(size)
            ]
            result = runs[0]
            results = (
                tuple(torch.stack(x) for x in zip(*runs, strict=True))
                if isinstance(result, tuple)
                else (torch.stack(runs),)
            )
        return (results, (0,) * len(results)) if isinstance(result, tuple) else (results[0], 0)


def _fold(x: Any, dim: int | None, size: int) -> Any:
    if not isinstance(x, Tensor):
        return x
    x = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.flatten(0, 1)


def _pick(x: Any, dim: int | None, i: int) -> Any:
    return x if dim is None else x.select(dim, i)
