"""Boundary IoU: how well the outlines of the classes agree, whatever lies deep inside them.

Source: Cheng, Girshick, Dollar, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
CVPR 2021. The boundary region of a mask are its pixels no farther than d from its contour; the boundary IoU of two
masks is the IoU of their boundary regions. Here, as in the authors' evaluation, distance is chessboard distance
(squares of 2d + 1 pixels) and the border of the image is contour too. A label map holds one mask a class: a pixel is in
the boundary region of its class where the square around it leaves the image or holds another class, so that one maximum
and one minimum over squares serve all classes at once. Pixels to be ignored belong to no mask, of labels or
predictions, and make no contour. Regions are counted for each class over all images, then divided.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from magnet.evaluation.metrics import count_values

__all__ = ["boundary_counts", "boundary_iou_per_class", "boundary_pixels", "boundary_region", "check_boundary_width"]


Border = tuple[bool, bool, bool, bool]  # top, bottom, left, right
_ALL: Border = (True, True, True, True)


def check_boundary_width(width: float) -> float:
    """``width`` if it is a number of pixels (an int) or a fraction of the diagonal (a float in (0, 1)); 0: none.

    Raises:
        ValueError: any other value.
    """
    whole = isinstance(width, int) and not isinstance(width, bool) and width >= 0
    if not whole and not (isinstance(width, float) and 0 <= width < 1):
        raise ValueError(
            f"boundary_width: expected an int (pixels) or a float in (0, 1) (of the image diagonal), got {width!r}"
        )
    return width


def boundary_pixels(width: float, size: tuple[int, int]) -> int:
    """The width d in pixels, at least 1, of ``check_boundary_width``'s ``width`` for an image of ``size`` (H, W)."""
    # from the longer side on every pixel is in the region
    return min(width, max(size)) if isinstance(width, int) else max(1, round(width * math.hypot(*size)))


def _largest_around(values: Tensor, d: int, dim: int) -> Tensor:
    """Maximum over 2d + 1 neighbours along ``dim`` of (B, H, W) uint8; 0 lies outside. Windows double in length."""
    shape = list(values.shape)
    shape[dim] = d
    rim = values.new_zeros(shape)
    values = torch.cat([rim, values, rim], dim)
    window, length = 1, 2 * d + 1
    while window < length:
        step = min(window, length - window)
        count = values.shape[dim] - step
        values = torch.maximum(values.narrow(dim, 0, count), values.narrow(dim, step, count))
        window += step
    return values


def boundary_region(labels: Tensor, d: int, ignore_index: int = 255, border: Border = _ALL) -> Tensor:
    """Pixels that lie in the boundary region of their own class.

    Args:
        labels: (H, W) uint8 classes.
        d: width of the region in pixels.
        ignore_index: pixels of this value are in no region and make no contour.
        border: whether the sides are those of the image; of a window pixels nearer than ``d`` to another side are not
            known, and what is returned for them means nothing.

    Returns:
        (H, W) bool.
    """
    ignored = labels == ignore_index
    # the ignored are 0 in both, which is never a maximum: classes count from 1 up, and from 255 down
    both = torch.stack([labels + 1, 255 - labels]).masked_fill_(ignored, 0)
    around = _largest_around(_largest_around(both, d, 1), d, 2)
    region = (around != both).any(0)
    for edge, is_border in zip((region[:d], region[-d:], region[:, :d], region[:, -d:]), border, strict=True):
        if is_border:
            edge.fill_(True)
    return region & ~ignored


def boundary_counts(
    pred: Tensor,
    target: Tensor,
    num_classes: int,
    d: int,
    target_region: Tensor,
    ignore_index: int = 255,
    border: Border = _ALL,
    inside: tuple[slice, slice] = (slice(None), slice(None)),
) -> Tensor:
    """Sizes of the boundary regions of each class, to be added up over images.

    Args:
        pred, target: (H, W) uint8 classes, 0..num_classes-1; pixels where ``target`` is ``ignore_index`` do not count.
        num_classes: number of classes C.
        d: width of the regions in pixels.
        target_region: ``boundary_region(target, d)``, the same for all predictions of an image.
        border: as of ``boundary_region``.
        inside: rows and columns that are counted, of a window with a margin.

    Returns:
        (3, C) int64: pixels in the regions of both, of ``target``, and of ``pred``.
    """
    pred = torch.where(target == ignore_index, target, pred)
    region = boundary_region(pred, d, ignore_index, border)[inside]
    pred, target, target_region = pred[inside], target[inside], target_region[inside]
    masks = ((region & target_region & (pred == target), pred), (target_region, target), (region, pred))
    none = num_classes  # a bin for the pixels outside of the regions
    values = [torch.where(mask, labels, none).clamp_(max=none) for mask, labels in masks]
    return torch.stack([count_values(v, none + 1)[:none] for v in values])


def boundary_iou_per_class(counts: Tensor) -> Tensor:
    """(3, C) counts -> (C,) float64; NaN where a class is in neither labels nor predictions."""
    both, target, pred = counts.double()
    return both / (target + pred - both)
