"""Boxes (image index, x0, y0, x1, y1) on their way to kernels: read once, checked on the host, sent as a table."""

from __future__ import annotations

import torch
from torch import Tensor

from magnet_kernels import _checks


def read_boxes(boxes: Tensor, batch_size: int) -> Tensor:
    """(P, 5) on the CPU, checked. Boxes of a GPU are waited for."""
    boxes = boxes.detach().cpu()
    _checks.check_box_values(boxes, batch_size)
    return boxes


def rounded(boxes: Tensor) -> Tensor:
    """(P, 5) int32 of boxes on the CPU: whole pixels, halves to even. Coordinates are below 2**24."""
    return boxes.double().round().to(torch.int32)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """(P, 5) int32, rounded boxes without what lies outside the map; empty ones where nothing is left."""
    image, x0, y0, x1, y1 = boxes.unbind(1)
    x0, x1 = x0.clamp(0, width), x1.clamp(0, width)
    y0, y1 = y0.clamp(0, height), y1.clamp(0, height)
    empty = (x1 <= x0) | (y1 <= y0)
    zero = torch.zeros_like(x0)
    corners = (torch.where(empty, zero, corner) for corner in (x0, y0, x1, y1))
    return torch.stack([image, *corners], 1)
