"""patch_uncertainty: how unsure a map is, box by box."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels import _checks
from magnet_kernels.reference.boxes import clipped_slices, rounded_boxes
from magnet_kernels.reference.confidence import confidence
from magnet_kernels.reference.division import divided


def patch_uncertainty(coarse: Tensor, boxes: Tensor, from_logits: bool = False) -> Tensor:
    """(N, C, H, W), (P, 5) -> (P,) float32: the mean of 1 - confidence over each box; 0 where it has no pixel."""
    _checks.check_box_values(boxes, coarse.shape[0])
    uncertainty = 1 - confidence(coarse, from_logits)
    result = uncertainty.new_zeros(boxes.shape[0])
    for p, box in enumerate(rounded_boxes(boxes)):
        pixels = uncertainty[box[0], 0][clipped_slices(box, *coarse.shape[2:])]
        if pixels.numel():
            result[p] = pixels.double().mean()
    return result


def patch_uncertainty_backward(grad: Tensor, boxes: Tensor, batch_size: int, height: int, width: int) -> Tensor:
    """(P,) -> (batch_size, 1, height, width): the gradient with respect to the uncertainty of every pixel."""
    _checks.check_box_values(boxes, batch_size)
    result = torch.zeros((batch_size, 1, height, width), dtype=grad.dtype, device=grad.device)
    for value, box in zip(grad, rounded_boxes(boxes), strict=True):
        pixels = result[box[0], 0][clipped_slices(box, height, width)]
        pixels += divided(value, max(pixels.numel(), 1))
    return result
