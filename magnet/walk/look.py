"""Looking at images at one scale: which patches, and what the networks make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from magnet.images.tensors import resize
from magnet.walk.grid import Box, patch_grid
from magnet.walk.maps import upsample
from magnet.walk.networks import Networks
from magnet.walk.passes import in_passes
from magnet.walk.plan import Plan
from magnet.walk.settings import WalkSettings
from magnet.walk.views import Views
from magnet_kernels import crop_patches, patch_uncertainty

__all__ = ["choose_boxes", "look", "look_at_whole"]


def look_at_whole(networks: Networks, settings: WalkSettings, plan: Plan, views: Views) -> Tensor:
    """Images -> probabilities (N, C, h, w) of the first scale, at the size that is seen or its own if smaller."""
    (h, w), (height, width) = plan.whole, plan.scales[0]
    seen, inference = views.whole(plan), settings.inference
    if torch.compiler.is_compiling():  # N may be symbolic
        maps = networks.segment(seen, inference)
    else:
        parts = seen.split(settings.patches_per_pass(seen.device))
        maps = torch.cat(
            [in_passes(networks, plan.whole, lambda some: networks.segment(some, inference), part) for part in parts]
        )
    return resize(maps, (min(h, height), min(w, width))).contiguous()


def choose_boxes(coarse: Tensor, grid: Sequence[Box], count: int) -> Tensor:
    """(N, count, 5) float64 boxes (image, x0, y0, x1, y1) of the grid's most uncertain patches, in the grid's order.

    Ties go to the first of the grid. They are on the CPU, where operators take them without a wait; where the walk is
    traced, chosen ones are where ``coarse`` is, (N, C, H, W) of the size of the scale.
    """
    n = coarse.shape[0]
    corners = torch.tensor(grid, dtype=torch.float64).expand(n, len(grid), 4)
    image = torch.arange(n, dtype=torch.float64)[:, None, None].expand(n, len(grid), 1)
    boxes = torch.cat([image, corners], dim=2)
    if not 0 < count < len(grid):
        return boxes[:, :count]
    if torch.compiler.is_compiling():
        boxes = boxes.to(coarse.device)
    uncertainty = patch_uncertainty(coarse, boxes.float().flatten(0, 1)).view(n, len(grid))
    chosen = uncertainty.argsort(dim=1, descending=True, stable=True)[:, :count].sort(dim=1).values.to(boxes.device)
    return boxes.gather(1, chosen[..., None].expand(n, count, 5))


def look(
    networks: Networks, settings: WalkSettings, plan: Plan, coarse: Tensor, views: Views, scale: int
) -> tuple[Tensor, Tensor]:
    """The patches of a scale, those of all images through the networks together, ``batch_size`` at a time.

    Args:
        networks: segmenter and refiners.
        settings: of the walk.
        plan: its sizes.
        coarse: (N, C, h, w) maps of the scale before.
        views: of the images.
        scale: its number, from 1 on.

    Returns:
        boxes (N, P, 5), see :func:`choose_boxes`; refined probabilities (N * P, C, h, w), h and w ``patch_size`` or
        smaller.
    """
    size, n = plan.scales[scale], coarse.shape[0]
    grid, n_patches = patch_grid(size, plan.patch_size), settings.patches_at(scale)
    count = len(grid) if n_patches is None else min(n_patches, len(grid))
    refines = networks.refiner_at(scale) is not None
    # what is cut out of a map in its own resolution need not be upsampled as a whole
    if 0 < count < len(grid) or (refines and plan.input_size != plan.patch_size):
        coarse = upsample(coarse, size)
    boxes = choose_boxes(coarse, grid, count)
    boxes = views.expect(size, boxes.flatten(0, 1), plan.patch_size).view(boxes.shape)
    (h, w), (height, width) = coarse.shape[-2:], size
    there = boxes * boxes.new_tensor([1, w, h, w, h]) / boxes.new_tensor([1, width, height, width, height])
    smaller = min(plan.input_size[0], plan.patch_size[0]), min(plan.input_size[1], plan.patch_size[1])
    patches = coarse.new_empty(n, count, coarse.shape[1], *smaller)

    def maps_of(crops: Tensor, in_coarse: Tensor) -> Tensor:
        seen = resize(crops, plan.input_size)
        fine = networks.segment(seen, settings.inference)
        if refines:
            coarse_part = crop_patches(coarse, in_coarse.float(), plan.input_size)
            fine = networks.merge(fine, coarse_part, seen, scale, settings.inference)
        return resize(fine, smaller)  # shrunk with antialiasing; enlarged when stitched

    both = torch.stack([boxes, there])
    for (here, in_coarse), place in _passes(both, patches, settings.patches_per_pass(coarse.device)):
        crops = views.patches(size, here.float(), plan.patch_size)
        place.copy_(in_passes(networks, plan.input_size, maps_of, crops, in_coarse).view(place.shape))
    return boxes, patches.flatten(0, 1)


def _passes(boxes: Tensor, patches: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Boxes (2, P, 5) of one pass of the networks, and the part of ``patches`` that its result belongs to."""
    count = boxes.shape[2]
    if torch.compiler.is_compiling():  # N may be symbolic: the same patches of every image
        for first in range(0, count, most):
            part = slice(first, min(first + most, count))
            yield boxes[:, :, part].flatten(1, 2), patches[:, part]
        return
    boxes, patches = boxes.flatten(1, 2), patches.flatten(0, 1)
    for first in range(0, len(patches), most):
        part = slice(first, first + most)
        yield boxes[:, part], patches[part]
