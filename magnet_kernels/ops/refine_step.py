"""refine_step: overwrite the pixels where coarse is unsure and fine is sure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.ops.replace_points import split_gradient
from magnet_kernels.reference import refine_step as reference


def refine_step(
    coarse: Tensor,
    fine: Tensor,
    *,
    n_points: int | float,
    kernel_size: int = 3,
    from_logits: bool = False,
    mask: Tensor | None = None,
    out: Tensor | None = None,
    return_points: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """One step of progressive refinement: replace the K most useful pixels of ``coarse`` by ``fine``.

    The score of a pixel is (1 - confidence(coarse)) * confidence(fine), median filtered; the K highest are replaced.

    Args:
        coarse: class probabilities (N, C, h, w), C >= 2, any strides; logits where ``from_logits`` (not checked). Where
            it is smaller than ``fine`` it is first upsampled bilinearly (align_corners=False).
        fine: (N, C, H, W), the same type and device, h <= H, w <= W. Under torch.autocast types may differ: both are
            taken in the wider one (fp16 and bf16: fp32), which is then that of the result.
        n_points: K per image: an int is a count (capped at H*W, 0 is a no-op), a float in (0, 1] a fraction of H*W.
        kernel_size: of the median, odd, 1 to 15; 1 for none.
        from_logits: scores are made from the softmax of both maps; the values replaced are the logits as given.
        mask: bool (N, 1, H, W), (N, H, W) or (H, W), N may be 1; pixels where it is False are never replaced.
        out: memory to write into, (N, C, H, W); may be ``coarse`` itself, must not overlap ``fine``.
        return_points: return (refined, points), points (N, K) int64 ascending; -1 where valid pixels run out.
        backend: "auto", or a backend's name to force it.

    Returns:
        refined (N, C, H, W) in the type and layout of ``coarse``. Its gradient goes to ``fine`` at the points and to
        ``coarse`` elsewhere; the choice of points carries none.

    Raises:
        TypeError, ValueError: an argument is not as above; nothing has been written.

    Source: Huynh et al., "Progressive Semantic Segmentation", CVPR 2021, section 3.3.
    """
    if out is coarse:
        refined, points = _in_place(coarse, fine, n_points, kernel_size, from_logits, mask, backend)
    else:
        coarse, fine = _checks.promoted(coarse, fine)
        mask, count, kernel_size = _check(coarse, fine, n_points, kernel_size, mask)
        device = coarse.device
        if out is None:
            run = _backends.choose("refine_step", backend, device, _refine_step)
            refined, points = run(coarse, fine, mask, count, kernel_size, from_logits)
        else:
            _check_out(out, coarse, fine)
            run = _backends.choose("refine_step_out", backend, device, _refine_step_out)
            points = run(coarse, fine, mask, count, kernel_size, from_logits, out)
            refined = out
    return (refined, points) if return_points else refined


def refine_step_(
    coarse: Tensor,
    fine: Tensor,
    *,
    n_points: int | float,
    kernel_size: int = 3,
    from_logits: bool = False,
    mask: Tensor | None = None,
    return_points: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``refine_step`` in place: writes into ``coarse`` (the size of ``fine``) and returns it.

    Under torch.autocast ``fine`` may be of a narrower type than ``coarse``, whose type stays.
    """
    refined, points = _in_place(coarse, fine, n_points, kernel_size, from_logits, mask, backend)
    return (refined, points) if return_points else refined


def _in_place(
    coarse: Tensor,
    fine: Tensor,
    n_points: int | float,
    kernel_size: int,
    from_logits: bool,
    mask: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    coarse, fine = _checks.promoted(coarse, fine, fixed=True)
    mask, count, kernel_size = _check(coarse, fine, n_points, kernel_size, mask)
    if coarse.shape != fine.shape:
        raise ValueError(
            f"coarse: expected the size of fine, {tuple(fine.shape[2:])} (H, W), to refine in place, got "
            f"{tuple(coarse.shape[2:])}; use refine_step, which upsamples"
        )
    _transforms.refuse("refine_step_", "refine_step")
    _checks.check_in_place("coarse", coarse)
    if coarse is not fine:
        _checks.check_apart("coarse", coarse, "fine", fine, "pass coarse.clone(), or use refine_step")
    device = coarse.device
    if torch.is_grad_enabled() and (coarse.requires_grad or fine.requires_grad):
        run = _backends.choose("refine_step", backend, device, _refine_step)
        refined, points = run(coarse, fine, mask, count, kernel_size, from_logits)
        return coarse.copy_(refined), points
    run = _backends.choose("refine_step_", backend, device, _refine_step_)
    return coarse, run(coarse, fine, mask, count, kernel_size, from_logits)


def _check(
    coarse: Tensor, fine: Tensor, n_points: int | float, kernel_size: int, mask: Tensor | None
) -> tuple[Tensor | None, int, int]:
    _checks.check_pair(coarse, fine, may_upsample=True)
    kernel_size = _checks.check_kernel_size(kernel_size)
    mask = _checks.check_mask(mask, fine)
    return mask, _checks.count_points(n_points, fine.shape[2], fine.shape[3]), kernel_size


def _check_out(out: Tensor, coarse: Tensor, fine: Tensor) -> None:
    if (
        not isinstance(out, Tensor)
        or out.layout != torch.strided
        or out.is_nested
        or out.shape != fine.shape
        or out.dtype != coarse.dtype
        or out.device != coarse.device
    ):
        raise ValueError(
            f"out: expected a {coarse.dtype} tensor of shape {tuple(fine.shape)} on {coarse.device}, got "
            f"{_checks._describe(out)}; make it with torch.empty_like(fine)"
        )
    _transforms.refuse("refine_step with out=", "refine_step without it")
    _checks.check_in_place("out", out)
    if torch.is_grad_enabled():
        for name, x in (("coarse", coarse), ("fine", fine), ("out", out)):
            if x.requires_grad:
                raise ValueError(
                    f"out: expected no gradient to be recorded, as for torch's own out=, but {name} requires grad; "
                    "use torch.no_grad() or leave out= away"
                )
    for name, other in (("fine", fine), ("coarse", coarse)):
        _checks.check_apart("out", out, name, other, "pass out=coarse itself to refine in place")


def _fake(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> tuple[Tensor, Tensor]:
    if coarse.shape == fine.shape:
        refined = torch.empty_like(coarse)
    else:
        refined = torch.empty(
            fine.shape, dtype=coarse.dtype, device=coarse.device, memory_format=reference.map_format(coarse)
        )
    return refined, _fake_points(coarse, fine, mask, n_points, kernel_size, from_logits)


def _fake_points(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> Tensor:
    return coarse.new_empty((fine.shape[0], n_points), dtype=torch.int64)


def _fake_out(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool, out: Tensor
) -> Tensor:
    return _fake_points(coarse, fine, mask, n_points, kernel_size, from_logits)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    coarse = inputs[0]
    ctx.save_for_backward(output[1])
    ctx.coarse_shape = coarse.shape
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    grad_coarse, grad_fine = split_gradient(grad, ctx.saved_tensors[0])
    if grad_coarse.shape != ctx.coarse_shape:
        upsample_backward = torch.ops.magnet_kernels.upsample_backward.default
        grad_coarse = _transforms.run(upsample_backward, grad_coarse, *ctx.coarse_shape[2:])
    return grad_coarse, grad_fine, None, None, None, None


_ARGUMENTS = "Tensor fine, Tensor? mask, SymInt n_points, int kernel_size, bool from_logits"
_refine_step = _library.define(
    f"refine_step(Tensor coarse, {_ARGUMENTS}) -> (Tensor, Tensor)",
    reference=reference.refine_step,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_refine_step_ = _library.define(
    f"refine_step_(Tensor(a!) coarse, {_ARGUMENTS}) -> Tensor", reference=reference.refine_step_, fake=_fake_points
)
_refine_step_out = _library.define(
    f"refine_step_out(Tensor coarse, {_ARGUMENTS}, Tensor(a!) out) -> Tensor",
    reference=reference.refine_step_out,
    fake=_fake_out,
)
for _name, _reference in (
    ("refine_step", reference.refine_step),
    ("refine_step_", reference.refine_step_),
    ("refine_step_out", reference.refine_step_out),
):
    _backends.register_reference(_name, _reference)
