"""upsample_confidence: a map made larger, and the confidence of the larger map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.reference import upsample_confidence as reference
from magnet_kernels.reference.confidence import confidence_backward
from magnet_kernels.reference.refine_step import map_format


def upsample_confidence(
    coarse: Tensor, size: tuple[int, int], *, from_logits: bool = False, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Bilinear upsampling of a map and the confidence of the result, in one pass over memory.

    A tap of weight 0 is not read: a pixel that an output lies on is taken as it is, whatever lies beside it.

    Args:
        coarse: class probabilities (N, C, h, w), C >= 2, any strides; logits where ``from_logits`` (not checked).
        size: (H, W) to reach, align_corners=False. With (h, w) itself the map is copied. Sizes below (h, w) are
            allowed, and sampled without antialiasing.
        from_logits: the confidence is made from the softmax of the upsampled logits.
        backend: "auto", or a backend's name to force it.

    Returns:
        The upsampled map (N, C, H, W) in the type and layout of ``coarse``, and its confidence (N, 1, H, W) float32.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """
    _checks.check_map("coarse", coarse, min_channels=2)
    _checks.check_filled("coarse", coarse)
    height, width = _checks.check_size("size", size)
    _checks.check_result("size", size, (*coarse.shape[:2], height, width), coarse.dtype)
    run = _backends.choose("upsample_confidence", backend, coarse.device, _upsample_confidence)
    return run(coarse, height, width, from_logits)


def _fake(coarse: Tensor, height: int, width: int, from_logits: bool = False) -> tuple[Tensor, Tensor]:
    n, c = coarse.shape[:2]
    upsampled = torch.empty(
        (n, c, height, width), dtype=coarse.dtype, device=coarse.device, memory_format=map_format(coarse)
    )
    return upsampled, coarse.new_empty((n, 1, height, width), dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    coarse, _, _, ctx.from_logits = inputs
    ctx.size = coarse.shape[2:]
    ctx.save_for_backward(output[0])


def _backward(ctx: Any, grad: Tensor, grad_confidence: Tensor) -> tuple[Tensor, None, None, None]:
    upsampled = ctx.saved_tensors[0]
    grad = grad + confidence_backward(grad_confidence, upsampled, ctx.from_logits)
    return _transforms.run(_upsample_backward, grad, *ctx.size), None, None, None


def _fake_backward(grad: Tensor, height: int, width: int) -> Tensor:
    return grad.new_empty((grad.shape[0], grad.shape[1], height, width))


def _setup_context_twice(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size = inputs[0].shape[2:]


def _backward_twice(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return _transforms.run(_upsample_confidence, grad, *ctx.size, False)[0], None, None


_upsample_confidence = _library.define(
    "upsample_confidence(Tensor coarse, SymInt height, SymInt width, bool from_logits=False) -> (Tensor, Tensor)",
    reference=reference.upsample_confidence,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
# aten's own upsample_bilinear2d_backward cannot be traced with symbolic sizes
_upsample_backward = _library.define(
    "upsample_backward(Tensor grad, SymInt height, SymInt width) -> Tensor",
    reference=reference.upsample_backward,
    fake=_fake_backward,
    backward=_backward_twice,
    setup_context=_setup_context_twice,
)
_backends.register_reference("upsample_confidence", reference.upsample_confidence)
