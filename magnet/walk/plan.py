"""Which sizes the walk takes for one image: the model's own, or sizes that follow the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from magnet.model.magnet import MagNet

__all__ = ["Plan", "plan_walk"]

Pair = tuple[int, int]


class Plan(NamedTuple):
    """Sizes (H, W) of a walk.

    scales: that the image is resized to, coarse to fine; whole: at which the networks see the whole image;
    patch_size: cut at each later scale; input_size: at which the networks see a patch.
    """

    scales: list[Pair]
    whole: Pair
    patch_size: Pair
    input_size: Pair


def plan_walk(model: MagNet, size: Pair) -> Plan:
    """The plan of ``model`` for an image of ``size`` (H, W).

    With ``follow_image`` the scales keep the image's aspect and the model's magnification from scale to scale, the
    first one fits into the model's first, and none is larger than the image, which therefore never is enlarged; there
    may be fewer of them.
    """
    if not model.follow_image:
        return Plan(model.scales, model.input_size, model.patch_size, model.input_size)
    h0, w0 = model.scales[0]
    first = min(h0 / size[0], w0 / size[1], 1.0)
    scales: list[Pair] = []
    for h, w in model.scales:
        scale = _times(size, min(first * min(h / h0, w / w0), 1.0))
        if not scales or scale != scales[-1]:
            scales.append(scale)
    whole = _times(scales[0], min(model.input_size[0] / h0, model.input_size[1] / w0))
    if len(scales) == 1:
        return Plan(scales, whole, model.patch_size, model.input_size)
    patch = min(model.patch_size[0], scales[1][0]), min(model.patch_size[1], scales[1][1])
    seen = [max(1, round(p * i / full)) for p, i, full in zip(patch, model.input_size, model.patch_size, strict=True)]
    return Plan(scales, whole, patch, (seen[0], seen[1]))


def _times(size: Pair, factor: float) -> Pair:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
