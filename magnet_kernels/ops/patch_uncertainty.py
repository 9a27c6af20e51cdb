"""patch_uncertainty: how unsure a map is, box by box."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library
from magnet_kernels.reference import patch_uncertainty as reference
from magnet_kernels.reference.confidence import confidence_backward


def patch_uncertainty(coarse: Tensor, boxes: Tensor, *, from_logits: bool = False, backend: str = "auto") -> Tensor:
    """Mean of 1 - confidence over each box, to choose the patches worth a closer look.

    Args:
        coarse: class probabilities (N, C, H, W), C >= 2, any strides; logits where ``from_logits`` (not checked).
        boxes: (P, 5) floats: image index, x0, y0, x1, y1 in pixels, rounded (halves to even) to whole pixels; what lies
            outside the map does not count. May lie on the CPU whatever the
            device of the map: those of a GPU are read back, which waits for it. Carries no gradient.
        from_logits: apply a softmax over C first.
        backend: "auto", or a backend's name to force it.

    Returns:
        (P,) float32; 0 where a box holds no pixel.

    Raises:
        TypeError, ValueError: an argument is not as above; an image index is not in the batch.
    """
    _checks.check_map("coarse", coarse, min_channels=2)
    _checks.check_boxes(boxes, coarse.device)
    run = _backends.choose("patch_uncertainty", backend, coarse.device, _patch_uncertainty)
    return run(coarse, boxes, from_logits)


def _fake(coarse: Tensor, boxes: Tensor, from_logits: bool = False) -> Tensor:
    return coarse.new_empty(boxes.shape[0], dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    coarse, boxes, ctx.from_logits = inputs
    ctx.save_for_backward(coarse, boxes)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    coarse, boxes = ctx.saved_tensors
    n, _, h, w = coarse.shape
    grad = _patch_uncertainty_backward(grad, boxes, n, h, w)
    return confidence_backward(-grad, coarse, ctx.from_logits), None, None


def _fake_backward(grad: Tensor, boxes: Tensor, batch_size: int, height: int, width: int) -> Tensor:
    return grad.new_empty((batch_size, 1, height, width))


_patch_uncertainty = _library.define(
    "patch_uncertainty(Tensor coarse, Tensor boxes, bool from_logits=False) -> Tensor",
    reference=reference.patch_uncertainty,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_patch_uncertainty_backward = _library.define(
    "patch_uncertainty_backward(Tensor grad, Tensor boxes, SymInt batch_size, SymInt height, SymInt width) -> Tensor",
    reference=reference.patch_uncertainty_backward,
    fake=_fake_backward,
)
_backends.register_reference("patch_uncertainty", reference.patch_uncertainty)
