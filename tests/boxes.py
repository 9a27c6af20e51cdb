"""Boxes for the tests of the operators on patches: drawn as small descriptions, in and around a map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

KINDS = ("inside", "around", "whole", "halves", "sized", "empty")


@dataclass(frozen=True)
class BoxSpec:
    """``count`` boxes on maps of ``size`` (H, W), made by ``make``.

    inside: any corners in the map. around: some of them far outside. whole, halves: at whole and at half pixels.
    sized: whole pixels and all of size ``patch``. empty: no pixel in any.
    """

    count: int
    images: int
    size: tuple[int, int]
    patch: tuple[int, int]
    kind: str
    dtype: torch.dtype
    seed: int

    def make(self, device: str = "cpu") -> Tensor:
        g = torch.Generator().manual_seed(self.seed)
        h, w = self.size
        scale = torch.tensor([w, h, w, h])
        corners = torch.rand(self.count, 4, generator=g)
        if self.kind == "around":
            corners = corners * 3 - 1
        corners = corners * scale
        if self.kind in ("whole", "halves", "sized", "empty"):
            corners = (corners * 1.4).floor() - 1
        low, high = corners.view(-1, 2, 2).amin(1), corners.view(-1, 2, 2).amax(1)
        if self.kind == "sized":
            high = low + torch.tensor([self.patch[1], self.patch[0]])
        elif self.kind == "empty":
            high = low
        elif self.kind == "halves":
            low, high = low + 0.5, high + 0.5
        image = torch.randint(0, self.images, (self.count, 1), generator=g)
        return torch.cat([image, low, high], 1).to(self.dtype).to(device)


@st.composite
def box_lists(
    draw: st.DrawFn, images: int, size: tuple[int, int], patch: tuple[int, int], *, kinds: tuple[str, ...] = KINDS
) -> BoxSpec:
    """Any boxes for maps (images, C, *size); none where there is no image."""
    return BoxSpec(
        draw(st.integers(0, 5)) if images else 0,
        max(images, 1),
        size,
        patch,
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from([torch.float32, torch.float64])),
        draw(st.integers(0, 2**16)),
    )


def sizes(largest: int = 40) -> st.SearchStrategy[tuple[int, int]]:
    """(H, W)"""
    return st.tuples(st.integers(1, 12), st.integers(1, largest))


def bad_boxes() -> list[tuple[object, type[Exception], str]]:
    """(boxes, error, part of the message) for two images."""
    nan, inf = float("nan"), float("inf")
    return [
        ([[0, 0, 0, 2, 2]], TypeError, "boxes.float"),
        (torch.zeros(1, 5, dtype=torch.int64), TypeError, "boxes.float"),
        (torch.zeros(1, 4), ValueError, "image index first"),
        (torch.zeros(5), ValueError, "image index first"),
        (torch.tensor([[2.0, 0, 0, 2, 2]]), ValueError, "from 0 to 1"),
        (torch.tensor([[-1.0, 0, 0, 2, 2]]), ValueError, "from 0 to 1"),
        (torch.tensor([[0.5, 0, 0, 2, 2]]), ValueError, "from 0 to 1"),
        (torch.tensor([[nan, 0, 0, 2, 2]]), ValueError, "from 0 to 1"),
        (torch.tensor([[0, 0, nan, 2, 2]]), ValueError, "finite"),
        (torch.tensor([[0, 0, 0, inf, 2]]), ValueError, "finite"),
        (torch.tensor([[0, -(2.0**24), 0, 2, 2]]), ValueError, "below 2"),
    ]


def on_each_device(boxes: object, device: str) -> list[object]:
    """Boxes may be on the CPU and on the device of the map, and are checked alike."""
    return [boxes] if device == "cpu" or not isinstance(boxes, Tensor) else [boxes, boxes.to(device)]
