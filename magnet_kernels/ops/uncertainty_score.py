"""uncertainty_score: high where coarse is unsure and fine is sure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _dispatcher, _library
from magnet_kernels.reference import uncertainty_score as reference
from magnet_kernels.reference.confidence import confidence, confidence_backward
from magnet_kernels.reference.median_blur import median_blur_backward


def uncertainty_score(
    coarse: Tensor,
    fine: Tensor,
    *,
    kernel_size: int = 3,
    from_logits: bool = False,
    mask: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """(1 - confidence(coarse)) * confidence(fine), 0 outside ``mask``, then a zero-padded median.

    Args:
        coarse: class probabilities (N, C, H, W), C >= 2, any strides; logits where ``from_logits`` (not checked).
        fine: the same shape, type and device. Under torch.autocast types may differ: both are taken in the wider one.
        kernel_size: of the median, odd, 1 to 15; 1 for none.
        from_logits: apply a softmax over C to both maps first, in the same pass.
        mask: bool (N, 1, H, W), (N, H, W) or (H, W), N may be 1; True where fine is valid.
        backend: "auto", or a backend's name to force it.

    Returns:
        (N, 1, H, W) float32, never -0.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """
    coarse, fine = _checks.promoted(coarse, fine)
    _checks.check_pair(coarse, fine)
    kernel_size = _checks.check_kernel_size(kernel_size)
    mask = _checks.check_mask(mask, fine)
    run = _backends.choose("uncertainty_score", backend, coarse.device, _uncertainty_score)
    return run(coarse, fine, mask, kernel_size, from_logits)


def _fake(
    coarse: Tensor, fine: Tensor, mask: Tensor | None = None, kernel_size: int = 3, from_logits: bool = False
) -> Tensor:
    return coarse.new_empty((coarse.shape[0], 1, coarse.shape[2], coarse.shape[3]), dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    coarse, fine, mask, ctx.kernel_size, ctx.from_logits = inputs
    ctx.save_for_backward(coarse, fine, mask, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
    coarse, fine, mask, blurred = ctx.saved_tensors
    from_logits = ctx.from_logits
    # The backend that made ``blurred`` makes the score again: the search for the median compares bits.
    with torch.no_grad():
        score = _dispatcher.overload(ctx.namespace, "uncertainty_score")(coarse, fine, mask, 1, from_logits)
    grad = median_blur_backward(grad, score, blurred, ctx.kernel_size)
    if mask is not None:
        grad = torch.where(mask, grad, 0.0)
    grad_coarse = confidence_backward(-grad * confidence(fine, from_logits), coarse, from_logits)
    grad_fine = confidence_backward(grad * (1 - confidence(coarse, from_logits)), fine, from_logits)
    return grad_coarse, grad_fine, None, None, None


_uncertainty_score = _library.define(
    "uncertainty_score(Tensor coarse, Tensor fine, Tensor? mask=None, int kernel_size=3, bool from_logits=False)"
    " -> Tensor",
    reference=reference.uncertainty_score,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_backends.register_reference("uncertainty_score", reference.uncertainty_score)
