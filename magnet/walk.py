"""The walk from coarse to fine as the paper describes it (``compat="paper"``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magnet.grid import Box, as_boxes, patch_grid
from magnet.images import resize
from magnet_kernels import crop_patches, patch_uncertainty, refine_step_, upsample_confidence

if TYPE_CHECKING:
    from magnet.model import MagNet
    from magnet.prediction import Stage

_STRIP = 256  # rows of labels made at a time


def paper_walk(model: MagNet, image: Tensor, bar: Any, stages: list[Stage] | None) -> Tensor:
    """(1, 3, H, W) normalised -> (1, C, *scales[-1]) probabilities. ``bar`` counts patches; ``stages`` are appended."""
    image = image.to(model.device)
    known = model.segment(_whole(image, model.scales[0], model.input_size)).contiguous()
    bar.update()
    if stages is not None:
        stages.append(make_stage(model.scales[0], known.clone()))
    for scale, size in enumerate(model.scales[1:], start=1):
        known = upsample(known, size)
        grid = patch_grid(size, model.patch_size)
        chosen = most_uncertain(known, grid, model.patches_at(scale))
        points = known.new_empty(0, dtype=torch.int64)
        if chosen:
            points = _refine(model, known, resize(image, size), [grid[i] for i in chosen], scale, bar)
        if stages is not None:
            stages.append(make_stage(size, known, points, [grid[i] for i in chosen]))
    return upsample(known, model.scales[-1])


def make_stage(size: tuple[int, int], known: Tensor, points: Tensor | None = None, boxes: Sequence[Box] = ()) -> Stage:
    """What one scale leaves for pictures: its map (1, C, H, W), the points replaced, and the patches looked at."""
    from magnet.prediction import Stage

    return Stage(scale=size, probabilities=known[0], points=points, boxes=list(boxes))


def _whole(image: Tensor, scale: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """The whole image at ``input_size``, showing no more than its first scale does."""
    if input_size[0] > scale[0] or input_size[1] > scale[1]:
        image = resize(image, scale)
    return resize(image, input_size)


def upsample(known: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a map (N, C, H, W) to ``size``."""
    if known.shape[-2:] == tuple(size):
        return known
    return upsample_confidence(known, size)[0]  # faster than F.interpolate, although half of it is not used


def most_uncertain(known: Tensor, grid: Sequence[Box], n_patches: int | None) -> list[int]:
    """Indices, ascending, of the patches of highest mean uncertainty; ties to the lowest index. None: all."""
    if n_patches is None or n_patches >= len(grid):
        return list(range(len(grid)))
    if n_patches == 0:
        return []
    uncertainty = patch_uncertainty(known, as_boxes(grid, known.device))
    return sorted(uncertainty.argsort(descending=True, stable=True)[:n_patches].tolist())


def _refine(model: MagNet, known: Tensor, image: Tensor, boxes: Sequence[Box], scale: int, bar: Any) -> Tensor:
    """Refine ``known`` (1, C, H, W) in place where ``boxes`` are; returns the flat indices of the points replaced."""
    width = known.shape[-1]
    # All that can change lies inside the boxes; a frame around them is all that MagNet-Fast has to go through.
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    frame = known[..., top:bottom, left:right]
    boxes_there = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in boxes]

    count = torch.zeros(1, 1, *frame.shape[2:], device=known.device)
    for x0, y0, x1, y1 in boxes_there:
        count[..., y0:y1, x0:x1] += 1
    covered, most = count > 0, count.max()
    n_covered = int(covered.sum())
    share = None if most <= 1 else 1 / count.clamp_(min=1)

    make = torch.empty if share is None and n_covered == covered.numel() else torch.zeros
    fine = make(frame.shape, dtype=frame.dtype, device=frame.device)
    for first in range(0, len(boxes), model.patches_per_pass):
        batch = boxes[first : first + model.patches_per_pass]
        patches = _patches(model, known, image, batch, scale)
        for patch, (x0, y0, x1, y1) in zip(patches, boxes_there[first:], strict=False):
            if share is None:
                fine[0, :, y0:y1, x0:x1] = patch
            else:
                fine[0, :, y0:y1, x0:x1] += patch * share[0, :, y0:y1, x0:x1]
        bar.update(len(batch))

    n_points = model.n_points if isinstance(model.n_points, int) else int(n_covered * model.n_points)
    mask = None if n_covered == covered.numel() else covered
    _, points = refine_step_(
        frame, fine, n_points=n_points, kernel_size=model.kernel_size, mask=mask, return_points=True
    )
    points = points[points >= 0]
    return (points // frame.shape[-1] + top) * width + points % frame.shape[-1] + left


def _patches(model: MagNet, known: Tensor, image: Tensor, boxes: Sequence[Box], scale: int) -> Tensor:
    """Refined probabilities (P, C, *patch_size) of patches of one scale. The networks work at ``input_size``."""
    crops = torch.cat([image[..., y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])
    fine = model.segment(resize(crops, model.input_size))
    if model.refiner_at(scale) is not None:
        coarse = crop_patches(known, as_boxes(boxes, known.device), model.input_size)
        fine = model.merge(fine, coarse, scale)
    return resize(fine, model.patch_size)


def count_patches(model: MagNet) -> int:
    """How often the segmenter looks at one image, the first scale included."""
    total = 1
    for scale, size in enumerate(model.scales[1:], start=1):
        n_patches, all_patches = model.patches_at(scale), len(patch_grid(size, model.patch_size))
        total += all_patches if n_patches is None else min(n_patches, all_patches)
    return total


def labels_at(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (h, w) int64 labels at ``size``: resized bilinearly, in strips, so that no second map is made."""
    height, width = probabilities.shape[1:]
    if (height, width) == tuple(size):
        return probabilities.max(dim=0).indices  # three times as fast as argmax
    labels = torch.empty(size, dtype=torch.int64, device=probabilities.device)
    y = ((torch.arange(size[0], device=probabilities.device) + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    above = y.long()
    weight = (y - above)[:, None]
    below = (above + 1).clamp(max=height - 1)
    for start in range(0, size[0], _STRIP):
        rows = slice(start, start + _STRIP)
        strip = torch.lerp(probabilities[:, above[rows]], probabilities[:, below[rows]], weight[rows])
        labels[rows] = upsample(strip[None], (strip.shape[1], size[1]))[0].max(dim=0).indices
    return labels
