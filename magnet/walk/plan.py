"""Which sizes the walk takes for one image: the model's own, or sizes that follow the image."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch

from magnet.bounds import Size
from magnet.walk.grid import count_grid
from magnet.walk.settings import WalkSettings

__all__ = ["Plan", "count_patches", "images_per_pass", "plan_walk"]

_MOST_PIXELS = 1 << 24  # of the last scale that are walked over together: 19 classes of them take 1.3 GB in float32


class Plan(NamedTuple):
    """Sizes (H, W) of a walk.

    scales: that the image is resized to, coarse to fine; whole: at which the networks see the whole image;
    patch_size: cut at each later scale; input_size: at which the networks see a patch.
    """

    scales: list[Size]
    whole: Size
    patch_size: Size
    input_size: Size


def plan_walk(settings: WalkSettings, size: Size) -> Plan:
    """The plan of a walk over an image of ``size`` (H, W).

    With ``follow_image`` the scales keep the image's aspect and the magnification from scale to scale, the
    first one fits into the settings' first, and none is larger than the image, which therefore never is enlarged; there
    may be fewer of them.
    """
    patch_size, input_size = settings.patch_size, settings.input_size
    assert input_size is not None
    if not settings.follow_image:
        return Plan(list(settings.scales), input_size, patch_size, input_size)
    h0, w0 = settings.scales[0]
    first = min(h0 / size[0], w0 / size[1], 1.0)
    scales: list[Size] = []
    for h, w in settings.scales:
        scale = _times(size, min(first * min(h / h0, w / w0), 1.0))
        if not scales or scale != scales[-1]:
            scales.append(scale)
    whole = _times(scales[0], min(input_size[0] / h0, input_size[1] / w0))
    if len(scales) == 1:
        return Plan(scales, whole, patch_size, input_size)
    patch = min(patch_size[0], scales[1][0]), min(patch_size[1], scales[1][1])
    seen = [max(1, round(p * i / full)) for p, i, full in zip(patch, input_size, patch_size, strict=True)]
    return Plan(scales, whole, patch, (seen[0], seen[1]))


def count_patches(settings: WalkSettings, plan: Plan) -> int:
    """How often the segmenter looks at one image, the first scale included."""
    return 1 + sum(_count_at(settings, plan, scale) for scale in range(1, len(plan.scales)))


def images_per_pass(settings: WalkSettings, plan: Plan, device: torch.device) -> int:
    """How many images of one plan are best walked over together: those whose patches fill a pass of the networks.

    One on a CPU, which larger passes keep no busier, and whose memory they take; and one as the release walks.
    """
    if device.type == "cpu" or settings.compat == "official":
        return 1
    counts = [_count_at(settings, plan, scale) for scale in range(1, len(plan.scales))]
    fewest = min([count for count in counts if count] or [1])
    height, width = plan.scales[-1]
    return max(min(ceil(settings.patches_per_pass(device) / fewest), _MOST_PIXELS // (height * width)), 1)


def _count_at(settings: WalkSettings, plan: Plan, scale: int) -> int:
    """How many patches of one image are looked at in ``scale``."""
    n_patches, all_patches = settings.patches_at(scale), count_grid(plan.scales[scale], plan.patch_size)
    return all_patches if n_patches is None else min(n_patches, all_patches)


def _times(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
