"""stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.reference import stitch_patches as reference
from magnet_kernels.reference.refine_step import map_format


def stitch_patches(
    patches: Tensor, boxes: Tensor, size: tuple[int, int], *, batch_size: int = 1, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Lay patches into a map: each is resized bilinearly (align_corners=False) to its box, and overlaps are averaged.

    A tap of weight 0 is not read: a pixel that an output lies on is taken as it is, whatever lies beside it.

    Args:
        patches: (P, C, h, w), any strides.
        boxes: (P, 5) floats: image index, x0, y0, x1, y1 in pixels, rounded (halves to even) to whole pixels; what lies
            outside the map is left out. May lie on the CPU whatever the
            device of the map: those of a GPU are read back, which waits for it. Carries no gradient.
        size: (H, W) of the map.
        batch_size: N, the number of images.
        backend: "auto", or a backend's name to force it.

    Returns:
        The map (N, C, H, W) in the type and layout of ``patches``, 0 where nothing lies, and covered (N, 1, H, W) bool.
        Overlaps are summed in the order of the patches: the same inputs give the same bits.

    Raises:
        TypeError, ValueError: an argument is not as above; an image index is not in the batch.
    """
    _checks.check_map("patches", patches)
    _checks.check_filled("patches", patches)
    _checks.check_boxes(boxes, patches.device)
    if boxes.shape[0] != patches.shape[0]:
        raise ValueError(
            f"boxes: expected one for each of the {patches.shape[0]} patches, got {_checks._describe(boxes)}; "
            "pass the boxes that the patches were cropped with"
        )
    height, width = _checks.check_size("size", size)
    batch_size = _checks.check_batch_size(batch_size)
    _checks.check_result("size", size, (1, patches.shape[1], height, width), patches.dtype)
    _checks.check_result("batch_size", batch_size, (batch_size, patches.shape[1], height, width), patches.dtype)
    run = _backends.choose("stitch_patches", backend, patches.device, _stitch_patches)
    return run(patches, boxes, height, width, batch_size)


def _fake(patches: Tensor, boxes: Tensor, height: int, width: int, batch_size: int) -> tuple[Tensor, Tensor]:
    stitched = torch.empty(
        (batch_size, patches.shape[1], height, width),
        dtype=patches.dtype,
        device=patches.device,
        memory_format=map_format(patches),
    )
    return stitched, patches.new_empty((batch_size, 1, height, width), dtype=torch.bool)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    patches, boxes = inputs[:2]
    ctx.size = patches.shape[2:]
    ctx.save_for_backward(boxes)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None, None, None]:
    return _transforms.run(_stitch_patches_backward, grad, ctx.saved_tensors[0], *ctx.size), None, None, None, None


def _fake_backward(grad: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    return grad.new_empty((boxes.shape[0], grad.shape[1], height, width))


def _setup_context_twice(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes = inputs[:2]
    ctx.shape = grad.shape
    ctx.save_for_backward(boxes)


def _backward_twice(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    n, _, h, w = ctx.shape
    return _transforms.run(_stitch_patches, grad, ctx.saved_tensors[0], h, w, n)[0], None, None, None


_stitch_patches = _library.define(
    "stitch_patches(Tensor patches, Tensor boxes, SymInt height, SymInt width, SymInt batch_size) -> (Tensor, Tensor)",
    reference=reference.stitch_patches,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_stitch_patches_backward = _library.define(
    "stitch_patches_backward(Tensor grad, Tensor boxes, SymInt height, SymInt width) -> Tensor",
    reference=reference.stitch_patches_backward,
    fake=_fake_backward,
    backward=_backward_twice,
    setup_context=_setup_context_twice,
)
_backends.register_reference("stitch_patches", reference.stitch_patches)
