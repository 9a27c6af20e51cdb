"""refine_step: score, median, selection and replacement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from magnet_kernels.reference.bilinear import map_taps, resize_axis
from magnet_kernels.reference.replace_points import replace_points, replace_points_
from magnet_kernels.reference.select_points import select_points
from magnet_kernels.reference.uncertainty_score import uncertainty_score


def map_format(x: Tensor) -> torch.memory_format:
    """The layout of a map made from ``x``: channels_last only where ``x`` is that and not plainly contiguous."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def upsample(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear (align_corners=False) to ``size`` (H, W), in at least fp32; the type and layout of ``coarse``."""
    wide = coarse.to(torch.promote_types(coarse.dtype, torch.float32))
    rows, columns = map_taps(coarse.shape[2:], size, wide)
    result = resize_axis(resize_axis(wide, 2, rows), 3, columns).to(coarse.dtype)
    return result.contiguous(memory_format=map_format(coarse))


def _points(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> Tensor:
    with torch.no_grad():
        return select_points(uncertainty_score(coarse, fine, mask, kernel_size, from_logits), mask, n_points)


def refine_step(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> tuple[Tensor, Tensor]:
    """(N, C, h, w), (N, C, H, W) with h <= H and w <= W -> refined (N, C, H, W), points (N, K)."""
    if coarse.shape != fine.shape:
        coarse = upsample(coarse, fine.shape[2:])
    points = _points(coarse, fine, mask, n_points, kernel_size, from_logits)
    return replace_points(coarse, fine, points), points


def refine_step_(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool
) -> Tensor:
    """In place; returns the points."""
    points = _points(coarse, fine, mask, n_points, kernel_size, from_logits)
    replace_points_(coarse, fine, points)
    return points


def refine_step_out(
    coarse: Tensor, fine: Tensor, mask: Tensor | None, n_points: int, kernel_size: int, from_logits: bool, out: Tensor
) -> Tensor:
    """Into ``out`` (N, C, H, W); returns the points."""
    refined, points = refine_step(coarse, fine, mask, n_points, kernel_size, from_logits)
    out.copy_(refined)
    return points
