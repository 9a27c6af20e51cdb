"""The operators of a walk in torch's own operators, of those that ONNX has: for programs that run without this library.

Boxes are values that a program computes, so that no shape may depend on them. It need not: all patches of a walk have
one size, which is known when it is traced. Cropping stays an operator here, as ONNX has RoiAlign. Ties go to the lowest
index, as TopK of ONNX takes them; torch's own topk promises nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.bounds import Size

__all__ = ["plain_operators"]

_NEVER = -1e30  # a score below all others


def plain_operators(patch_size: Size) -> dict[Any, Callable[..., Any]]:
    """A table of decompositions, {operator: function of its arguments}, for walks with patches of ``patch_size``."""

    def refine_stage(
        coarse: Tensor,
        patches: Tensor,
        boxes: Tensor,
        height: int,
        width: int,
        n_points: int,
        kernel_size: int,
        from_logits: bool,
    ) -> tuple[Tensor, Tensor]:
        if from_logits:
            patches = patches.softmax(dim=1)
        coarse = _upsample(coarse, (height, width))
        n_points = min(n_points, height * width)
        if patches.shape[0] == 0 or n_points == 0:
            return coarse.clone(), boxes.new_full((coarse.shape[0], n_points), -1, dtype=torch.int64)
        fine, covered = _stitched(patches, boxes, patch_size, coarse)
        score = (1 - _margin(coarse)) * _margin(fine)
        score = _median(torch.where(covered, score, 0.0), kernel_size)
        points = torch.where(covered, score, _NEVER).flatten(1).topk(n_points, dim=1).indices
        valid = covered.flatten(1).gather(1, points)
        chosen = torch.zeros_like(covered.flatten(1)).scatter(1, points, valid).view(covered.shape)
        return torch.where(chosen, fine, coarse), torch.where(valid, points, -1)

    def refine_stage_labels(*arguments: Any) -> tuple[Tensor, Tensor]:
        refined, points = refine_stage(*arguments)
        return refined.argmax(dim=1).to(torch.uint8), points

    def patch_uncertainty(coarse: Tensor, boxes: Tensor, from_logits: bool = False) -> Tensor:
        uncertainty = 1 - _margin(coarse.softmax(dim=1) if from_logits else coarse)
        # sums of all that lies above and to the left: four of them make that of a box
        sums = F.pad(uncertainty.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        n, _, h, w = sums.shape
        image, x0, y0, x1, y1 = boxes.long().unbind(1)

        def corner(y: Tensor, x: Tensor) -> Tensor:
            return sums.reshape(n * h * w)[(image * h + y) * w + x]

        total = corner(y1, x1) - corner(y0, x1) - corner(y1, x0) + corner(y0, x0)
        return (total / (patch_size[0] * patch_size[1])).float()

    def upsample_confidence(
        coarse: Tensor, height: int, width: int, from_logits: bool = False
    ) -> tuple[Tensor, Tensor]:
        upsampled = _upsample(coarse, (height, width)).clone()
        return upsampled, _margin(upsampled.softmax(dim=1) if from_logits else upsampled)

    table = (refine_stage, refine_stage_labels, patch_uncertainty, upsample_confidence)
    operators = torch.ops.magnet_kernels
    return {
        torch.ops.aten.argsort.stable: _argsort,
        **{getattr(operators, function.__name__).default: function for function in table},
    }


def _argsort(x: Tensor, *, stable: bool, dim: int = -1, descending: bool = False) -> Tensor:
    return x.topk(x.shape[dim], dim=dim, largest=descending).indices


def _upsample(x: Tensor, size: Size) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _margin(x: Tensor) -> Tensor:
    """The highest less the second highest of (N, C, H, W) over C: (N, 1, H, W)."""
    top = x.topk(2, dim=1).values
    return top[:, :1] - top[:, 1:]


def _median(x: Tensor, kernel_size: int) -> Tensor:
    """The median of a square window of (N, 1, H, W), zero padded."""
    if kernel_size == 1:
        return x
    r, (h, w) = kernel_size // 2, x.shape[2:]
    padded = F.pad(x, (r, r, r, r))
    windows = [padded[:, 0, dy : dy + h, dx : dx + w] for dy in range(kernel_size) for dx in range(kernel_size)]
    upper = torch.stack(windows, dim=-1).topk(kernel_size**2 // 2 + 1, dim=-1).values
    return upper[..., -1][:, None]


def _stitched(patches: Tensor, boxes: Tensor, patch_size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (P, C, h, w) laid into a map, overlaps averaged, and where they lie: shapes as ``like``, (N, 1, H, W)."""
    n, _, height, width = like.shape
    patches = _upsample(patches, patch_size)
    counted = torch.cat([patches, torch.ones_like(patches[:, :1])], dim=1)  # how many patches lie on a pixel
    rows = torch.arange(patch_size[0], device=boxes.device)[:, None] * width
    inside = rows + torch.arange(patch_size[1], device=boxes.device)
    image, x0, y0 = boxes[:, :3].round().long().unbind(1)
    first = (image * height + y0) * width + x0
    values = counted.permute(0, 2, 3, 1)
    total = values.new_zeros((n * height * width, counted.shape[1]))
    for p in range(patches.shape[0]):  # one after the other, as runtimes may add in parallel
        place = (first[p] + inside).flatten()
        total = total.index_put((place,), values[p].flatten(0, 1), accumulate=True)
    total = total.view(n, height, width, -1).permute(0, 3, 1, 2)
    count = total[:, -1:]
    return total[:, :-1] / count.clamp(min=1), count > 0
