"""refine_stage: from the map of one scale and the patches of the next to the refined map of the next, in one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.ops.replace_points import split_gradient
from magnet_kernels.reference import refine_stage as reference
from magnet_kernels.reference.refine_step import map_format


def refine_stage(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    n_points: int | float,
    kernel_size: int = 3,
    from_logits: bool = False,
    labels_only: bool = False,
    return_points: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """A whole scale of progressive refinement: upsample, stitch, score, median, select and replace.

    The same as upsampling ``coarse`` to ``size``, ``stitch_patches(patches, boxes, size)`` and ``refine_step`` of the
    two where patches lie, without the maps in between.

    Args:
        coarse: class probabilities (N, C, h, w), C >= 2, any strides, upsampled bilinearly (align_corners=False).
        patches: class probabilities (P, C, ph, pw) of the same type and device; P may be 0. Logits where
            ``from_logits``; which they are is not checked. Under torch.autocast types may differ: both are taken in the
            wider one (fp16 and bf16: fp32), which is then that of the result.
        boxes: (P, 5) floats: image index, x0, y0, x1, y1 in pixels of ``size``, as ``stitch_patches`` takes them. May
            lie on the CPU whatever the device of the maps, so that nobody waits for a device. Carries no gradient.
        size: (H, W) to reach, h <= H, w <= W.
        n_points: K per image: an int is a count (capped at H*W, 0 replaces nothing), a float in (0, 1] a fraction of
            H*W. Only pixels that a patch covers are replaced.
        kernel_size: of the median, odd, 1 to 15; 1 for none.
        from_logits: the softmax of ``patches`` over C is used, made in fp32 (fp64 of fp64) and rounded to their type.
        labels_only: return only the class of highest probability, ties to the lowest class; a NaN counts as the
            highest, as in torch.argmax. At most 256 classes. No map of probabilities is made; no gradient.
        return_points: return (result, points), points (N, K) int64 flat indices y * W + x, ascending; -1 where covered
            pixels run out.
        backend: "auto", or a backend's name to force it.

    Returns:
        refined (N, C, H, W) in the type of ``coarse``, channels_last where ``coarse`` is, else contiguous; or labels
        (N, H, W) uint8. The gradient of refined goes to ``patches`` at the points and to ``coarse`` elsewhere; the
        choice of points carries none.

    Raises:
        TypeError, ValueError: an argument is not as above; an image index is not in the batch.

    Source: Huynh et al., "Progressive Semantic Segmentation", CVPR 2021, section 3.
    """
    coarse, patches = _checks.promoted(coarse, patches)
    height, width = _check(coarse, patches, boxes, size, labels_only)
    kernel_size = _checks.check_kernel_size(kernel_size)
    count = _checks.count_points(n_points, height, width)
    name, dispatched = ("refine_stage_labels", _labels) if labels_only else ("refine_stage", _refine_stage)
    run = _backends.choose(name, backend, coarse.device, dispatched)
    result, points = run(coarse, patches, boxes, height, width, count, kernel_size, from_logits)
    return (result, points) if return_points else result


def _check(coarse: Tensor, patches: Tensor, boxes: Tensor, size: object, labels_only: bool) -> tuple[int, int]:
    _checks.check_map("coarse", coarse, min_channels=2)
    _checks.check_filled("coarse", coarse)
    _checks.check_map("patches", patches, min_channels=2)
    _checks.check_filled("patches", patches)
    if patches.dtype != coarse.dtype:
        raise TypeError(
            f"patches: expected the type of coarse, {coarse.dtype}, got {_checks._describe(patches)}; "
            "convert it with patches.to(coarse.dtype)"
        )
    if patches.device != coarse.device:
        raise ValueError(
            f"patches: expected the device of coarse, {coarse.device}, got {_checks._describe(patches)}; "
            "move it with patches.to(coarse.device)"
        )
    if patches.shape[1] != coarse.shape[1]:
        raise ValueError(
            f"patches: expected C of coarse, {coarse.shape[1]}, got {_checks._describe(patches)}; "
            "both must hold the same classes"
        )
    _checks.check_boxes(boxes, coarse.device)
    if boxes.shape[0] != patches.shape[0]:
        raise ValueError(
            f"boxes: expected one for each of the {patches.shape[0]} patches, got {_checks._describe(boxes)}; "
            "pass the boxes that the patches were cropped with"
        )
    height, width = _checks.check_size("size", size)
    if coarse.shape[2] > height or coarse.shape[3] > width:
        raise ValueError(
            f"size: expected no less than coarse, {tuple(coarse.shape[2:])} (H, W), got {(height, width)}; "
            "sizes are (height, width)"
        )
    _checks.check_result("size", size, (*coarse.shape[:2], height, width), coarse.dtype)
    if labels_only and coarse.shape[1] > 256:
        raise ValueError(
            f"labels_only: expected at most 256 classes (labels are uint8), got {_checks._describe(coarse)}; "
            "use labels_only=False and argmax"
        )
    return height, width


def _fake(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> tuple[Tensor, Tensor]:
    n, c = coarse.shape[:2]
    refined = torch.empty(
        (n, c, height, width), dtype=coarse.dtype, device=coarse.device, memory_format=map_format(coarse)
    )
    return refined, coarse.new_empty((n, n_points), dtype=torch.int64)


def _fake_labels(
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    n_points: int,
    kernel_size: int,
    from_logits: bool,
) -> tuple[Tensor, Tensor]:
    n = coarse.shape[0]
    labels = coarse.new_empty((n, height, width), dtype=torch.uint8)
    return labels, coarse.new_empty((n, n_points), dtype=torch.int64)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    coarse, patches, boxes = inputs[:3]
    ctx.from_logits = inputs[7]
    ctx.coarse_size, ctx.patch_size = coarse.shape[2:], patches.shape[2:]
    ctx.save_for_backward(output[1], boxes, patches if ctx.from_logits else None)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    points, boxes, patches = ctx.saved_tensors
    operators = torch.ops.magnet_kernels
    grad_coarse, grad_fine = split_gradient(grad, points)
    grad_coarse = _transforms.run(operators.upsample_backward.default, grad_coarse, *ctx.coarse_size)
    grad_patches = _transforms.run(
        operators.stitch_patches_backward.default, grad_fine, boxes.to(grad.device), *ctx.patch_size
    )
    if patches is not None:
        grad_patches = reference.probabilities_backward(grad_patches, patches, True)
    return grad_coarse, grad_patches, None, None, None, None, None, None


_ARGUMENTS = (
    "Tensor coarse, Tensor patches, Tensor boxes, SymInt height, SymInt width, SymInt n_points, int kernel_size, "
    "bool from_logits"
)
_refine_stage = _library.define(
    f"refine_stage({_ARGUMENTS}) -> (Tensor, Tensor)",
    reference=reference.refine_stage,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_labels = _library.define(
    f"refine_stage_labels({_ARGUMENTS}) -> (Tensor, Tensor)",
    reference=reference.refine_stage_labels,
    fake=_fake_labels,
)
_backends.register_reference("refine_stage", reference.refine_stage)
_backends.register_reference("refine_stage_labels", reference.refine_stage_labels)
