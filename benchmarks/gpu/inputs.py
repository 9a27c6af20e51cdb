"""Random maps, made where they are used: a CPU would take longer than the whole benchmark."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.arithmetic import Shape

CLUSTERED, SCATTERED, FLAT = "clustered", "scattered", "flat"
REGION = 32  # pixels between the grid points of smooth regions


def logits(shape: Shape, seed: int, device: str, kind: str = CLUSTERED) -> Tensor:
    """Logits (N, C, H, W), float32: smooth regions with some noise, noise alone, or the same for every pixel."""
    generator = torch.Generator(device).manual_seed(seed)
    n, c, h, w = shape
    if kind == FLAT:
        return (3 * torch.randn((n, c, 1, 1), generator=generator, device=device)).expand(shape).contiguous()
    x = torch.randn(shape, generator=generator, device=device)
    if kind == SCATTERED:
        return x.mul_(3)
    x.mul_(0.1)
    grid = (max(2, h // REGION), max(2, w // REGION))
    low = 3 * torch.randn((n, c, *grid), generator=generator, device=device)
    for channel in range(c):  # one by one, so that the largest maps need no second one beside them
        x[:, channel] += F.interpolate(low[:, channel : channel + 1], (h, w), mode="bilinear")[:, 0]
    return x


def probabilities(shape: Shape, seed: int, device: str, kind: str = CLUSTERED) -> Tensor:
    """The softmax of ``logits``, made in place."""
    x = logits(shape, seed, device, kind)
    if kind == FLAT:  # of one pixel: vectors and what is left of a row may round in different ways
        x = x[..., :1, :1].clone()
    x.sub_(x.amax(dim=1, keepdim=True)).exp_()
    x.div_(x.sum(dim=1, keepdim=True))
    return x.expand(shape).contiguous() if kind == FLAT else x


def grid_boxes(size: tuple[int, int], patch: tuple[int, int], device: str, step: int = 1) -> Tensor:
    """Boxes (P, 5) of ``patch`` all over a map; with ``step`` 2 neighbours overlap by half."""
    ys = range(0, size[0] - patch[0] + 1, patch[0] // step)
    xs = range(0, size[1] - patch[1] + 1, patch[1] // step)
    boxes = [[0, x, y, x + patch[1], y + patch[0]] for y in ys for x in xs]
    return torch.tensor(boxes, dtype=torch.float32, device=device)
