"""replace_points: the values of fine at the points, of coarse elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magnet_kernels import _backends, _checks, _library, _transforms
from magnet_kernels.reference import replace_points as reference


def replace_points(coarse: Tensor, fine: Tensor, points: Tensor, *, backend: str = "auto") -> Tensor:
    """A copy of ``coarse`` with all C values of ``fine`` at ``points``.

    Args:
        coarse: (N, C, H, W), any strides.
        fine: the same shape, type and device. Under torch.autocast types may differ: both are taken in the wider one
            (fp16 and bf16: fp32), which is then that of the result; in place the type of ``coarse`` must be the wider.
        points: (N, K) int64 flat indices y * W + x; -1 replaces nothing.
        backend: "auto", or a backend's name to force it.

    Returns:
        The shape, type and layout of ``coarse``; its gradient goes to ``fine`` at the points, to ``coarse`` elsewhere.

    Raises:
        TypeError, ValueError: an argument is not as above.
        IndexError: a point lies outside the map (CPU and reference). On CUDA, which does not wait for the points to
            look at them, such points replace nothing.
    """
    coarse, fine = _checks.promoted(coarse, fine)
    _check(coarse, fine, points)
    return _backends.choose("replace_points", backend, coarse.device, _replace_points)(coarse, fine, points)


def replace_points_(coarse: Tensor, fine: Tensor, points: Tensor, *, backend: str = "auto") -> Tensor:
    """In place: write ``fine`` into ``coarse`` at ``points`` and return ``coarse``. Arguments as ``replace_points``."""
    coarse, fine = _checks.promoted(coarse, fine, fixed=True)
    _check(coarse, fine, points)
    _transforms.refuse("replace_points_", "replace_points")
    _checks.check_in_place("coarse", coarse)
    if coarse is not fine:
        _checks.check_apart("coarse", coarse, "fine", fine, "pass coarse.clone(), or use replace_points")
    if torch.is_grad_enabled() and (coarse.requires_grad or fine.requires_grad):
        return coarse.copy_(replace_points(coarse, fine, points, backend=backend))
    _backends.choose("replace_points_", backend, coarse.device, _replace_points_)(coarse, fine, points)
    return coarse


def _check(coarse: Tensor, fine: Tensor, points: Tensor) -> None:
    _checks.check_pair(coarse, fine, min_channels=1)
    _checks.check_points(points, coarse)


def _fake(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    return torch.empty_like(coarse)


def _fake_(coarse: Tensor, fine: Tensor, points: Tensor) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[2])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *split_gradient(grad, ctx.saved_tensors[0]), None


def split_gradient(grad: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of (coarse, fine): each element of ``grad`` goes to one of them."""
    chosen = reference.point_mask(points, *grad.shape[2:])
    return torch.where(chosen, 0.0, grad), torch.where(chosen, grad, 0.0)


_replace_points = _library.define(
    "replace_points(Tensor coarse, Tensor fine, Tensor points) -> Tensor",
    reference=reference.replace_points,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_replace_points_ = _library.define(
    "replace_points_(Tensor(a!) coarse, Tensor fine, Tensor points) -> ()",
    reference=reference.replace_points_,
    fake=_fake_,
)
_backends.register_reference("replace_points", reference.replace_points)
_backends.register_reference("replace_points_", reference.replace_points_)
