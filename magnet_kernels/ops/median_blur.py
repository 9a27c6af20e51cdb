"""median_blur: the median of a square window, zero padded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library
from magnet_kernels.reference import median_blur as reference


def median_blur(x: Tensor, kernel_size: int = 3, *, backend: str = "auto") -> Tensor:
    """Median of the ``kernel_size`` x ``kernel_size`` window around every pixel, zero padded.

    Args:
        x: (N, C, H, W), any strides; each channel by itself.
        kernel_size: odd, 1 to 15; 1 returns a copy.
        backend: "auto", or a backend's name to force it.

    Returns:
        The shape, type and layout of ``x``. NaN ranks below -inf, so that a few of them in a window do not spread.

    Raises:
        TypeError, ValueError: ``x`` is not such a map, or ``kernel_size`` is not odd and in range.
    """
    _checks.check_map("x", x)
    kernel_size = _checks.check_kernel_size(kernel_size)
    return _backends.choose("median_blur", backend, x.device, _median_blur)(x, kernel_size)


def _fake(x: Tensor, kernel_size: int = 3) -> Tensor:
    return torch.empty_like(x)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.kernel_size = inputs
    ctx.save_for_backward(x, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    x, blurred = ctx.saved_tensors
    return reference.median_blur_backward(grad, x, blurred, ctx.kernel_size), None


_median_blur = _library.define(
    "median_blur(Tensor x, int kernel_size=3) -> Tensor",
    reference=reference.median_blur_in_layout,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_backends.register_reference("median_blur", reference.median_blur_in_layout)
