"""crop_patches: boxes of a map, each resampled to one size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.reference import crop_patches as reference
from magnet_kernels.reference.refine_step import map_format


def crop_patches(
    x: Tensor, boxes: Tensor, output_size: tuple[int, int], *, aligned: bool = True, backend: str = "auto"
) -> Tensor:
    """RoIAlign with adaptive sampling: each output pixel averages ceil(box / output size) bilinear samples an axis.

    A tap of weight 0 is not read: it adds nothing, whatever lies there.

    Args:
        x: (N, C, H, W), any strides.
        boxes: (P, 5) floats: image index, x0, y0, x1, y1 in pixels, any part of them outside the map: samples more
            than one pixel outside are 0. May lie on the CPU whatever the
            device of the map: those of a GPU are read back, which waits for it. Carries no gradient.
        output_size: (h, w) of every patch.
        aligned: pixel centres are at half coordinates, so that a box of whole pixels and of ``output_size`` is copied
            exactly. False shifts by half a pixel and makes boxes at least one pixel large, as the first RoIAlign did.
        backend: "auto", or a backend's name to force it.

    Returns:
        (P, C, h, w) in the type and layout of ``x``.

    Raises:
        TypeError, ValueError: an argument is not as above; an image index is not in the batch.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3.
    """
    _checks.check_map("x", x)
    _checks.check_filled("x", x)
    _checks.check_boxes(boxes, x.device)
    height, width = _checks.check_size("output_size", output_size)
    _checks.check_result("output_size", output_size, (boxes.shape[0], x.shape[1], height, width), x.dtype)
    return _backends.choose("crop_patches", backend, x.device, _crop_patches)(x, boxes, height, width, aligned)


def _fake(x: Tensor, boxes: Tensor, height: int, width: int, aligned: bool) -> Tensor:
    shape = (boxes.shape[0], x.shape[1], height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=map_format(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, boxes, _, _, ctx.aligned = inputs
    ctx.shape = x.shape
    ctx.save_for_backward(boxes)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    n, _, h, w = ctx.shape
    grad = _transforms.run(_crop_patches_backward, grad, ctx.saved_tensors[0], n, h, w, ctx.aligned)
    return grad, None, None, None, None


def _fake_backward(grad: Tensor, boxes: Tensor, batch_size: int, height: int, width: int, aligned: bool) -> Tensor:
    return grad.new_empty((batch_size, grad.shape[1], height, width))


def _setup_context_twice(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes, _, _, _, ctx.aligned = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(boxes)


def _backward_twice(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad = _transforms.run(_crop_patches, grad, ctx.saved_tensors[0], *ctx.size, ctx.aligned)
    return grad, None, None, None, None, None


_crop_patches = _library.define(
    "crop_patches(Tensor x, Tensor boxes, SymInt height, SymInt width, bool aligned) -> Tensor",
    reference=reference.crop_patches,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_crop_patches_backward = _library.define(
    "crop_patches_backward(Tensor grad, Tensor boxes, SymInt batch_size, SymInt height, SymInt width, bool aligned)"
    " -> Tensor",
    reference=reference.crop_patches_backward,
    fake=_fake_backward,
    backward=_backward_twice,
    setup_context=_setup_context_twice,
)
_backends.register_reference("crop_patches", reference.crop_patches)
