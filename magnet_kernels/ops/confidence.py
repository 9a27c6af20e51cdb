"""confidence: top-1 minus top-2 class probability."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library
from magnet_kernels.reference import confidence as reference


def confidence(x: Tensor, *, from_logits: bool = False, backend: str = "auto") -> Tensor:
    """Top-1 minus top-2 class probability of every pixel, computed in float32.

    Args:
        x: class probabilities (N, C, H, W), C >= 2, any strides; logits where ``from_logits`` (not checked).
        from_logits: apply a softmax over C first, in the same pass.
        backend: "auto", or a backend's name to force it.

    Returns:
        (N, 1, H, W) float32, never -0. A pixel with NaN among its classes has confidence 0.

    Raises:
        TypeError, ValueError: ``x`` is not such a map.
    """
    _checks.check_map("x", x, min_channels=2)
    return _backends.choose("confidence", backend, x.device, _confidence)(x, from_logits)


def _fake(x: Tensor, from_logits: bool = False) -> Tensor:
    return x.new_empty((x.shape[0], 1, x.shape[2], x.shape[3]), dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, ctx.from_logits = inputs
    ctx.save_for_backward(x)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return reference.confidence_backward(grad, ctx.saved_tensors[0], ctx.from_logits), None


_confidence = _library.define(
    "confidence(Tensor x, bool from_logits=False) -> Tensor",
    reference=reference.confidence,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_backends.register_reference("confidence", reference.confidence)
