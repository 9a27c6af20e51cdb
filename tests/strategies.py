"""Hypothesis strategies: maps of any shape, type, layout and content, masks, and numbers of points.

Maps are drawn as small descriptions (they print and shrink well) and made on demand, on any device.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
CONTENTS = ("probabilities", "ties", "one_hot", "flat", "normal", "special")
PROBABILITIES = ("probabilities", "ties", "one_hot", "flat")
WRITABLE = ("contiguous", "channels_last", "sliced", "sliced_channels_last", "transposed", "misaligned")
LAYOUTS = (*WRITABLE, "expanded_n", "expanded_h", "expanded_w")
INF = float("inf")
SPECIAL = (float("nan"), INF, -INF, -0.0, 0.0, 1.0, 1e-40)


def lay_out(x: Tensor, layout: str) -> Tensor:
    """``x`` in another memory layout; memory around a slice is NaN, so that reading it shows."""
    n, c, h, w = x.shape
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        return x.new_full((n, c + 1, h + 3, 2 * w + 1), float("nan"))[:, 1:, 2:-1, 1::2].copy_(x)
    if layout == "sliced_channels_last":
        return x.new_full((n, h, w, c + 3), float("nan"))[..., 2:-1].permute(0, 3, 1, 2).copy_(x)
    if layout == "transposed":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == "misaligned":
        return x.new_full((x.numel() + 1,), float("nan"))[1:].view(x.shape).copy_(x)
    if layout.startswith("expanded"):
        dim = {"n": 0, "h": 2, "w": 3}[layout[-1]]
        return x.narrow(dim, 0, min(1, x.shape[dim])).expand(x.shape)
    return x.contiguous()


@dataclass(frozen=True)
class MapSpec:
    """A map (N, C, H, W), made by ``make``."""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    content: str
    layout: str
    seed: int

    def make(self, device: str = "cpu") -> Tensor:
        g = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {self.content}".encode()))
        n, c, h, w = self.shape
        normal = torch.randn(self.shape, generator=g)
        if self.content == "probabilities":
            x = (normal * 3).softmax(1)
        elif self.content == "ties":
            x = torch.randint(0, 4, self.shape, generator=g) / 4
        elif self.content == "one_hot":
            x = torch.zeros(self.shape)
            if x.numel():
                x.scatter_(1, torch.randint(0, c, (n, 1, h, w), generator=g), 1.0)
        elif self.content == "flat":
            x = torch.full(self.shape, 1 / max(c, 1))
        elif self.content == "special":
            chosen = torch.tensor(SPECIAL)[torch.randint(0, len(SPECIAL), self.shape, generator=g)]
            x = torch.where(torch.rand(self.shape, generator=g) < 0.15, chosen, normal.softmax(1))
        elif self.content in ("extremes", "edges"):
            tiny = torch.finfo(self.dtype).smallest_normal
            finite = [tiny / 4, -tiny / 8, 1.5, -0.5] if self.content == "edges" else []
            values = torch.tensor([-0.0, 0.0, INF, -INF, float("nan"), *finite], dtype=self.dtype)
            values = values[torch.randperm(len(values), generator=g)[: 2 + self.seed % 8]]  # two of them, or all
            x = values[torch.randint(0, len(values), self.shape, generator=g)]
        else:
            x = normal
        return lay_out(x.to(self.dtype).to(device), self.layout)

    def like(self, **changes: object) -> MapSpec:
        return replace(self, **changes)


def _size(largest: int) -> st.SearchStrategy[int]:
    return st.integers(1, largest) | st.integers(1, 4)


@st.composite
def maps(
    draw: st.DrawFn,
    *,
    min_channels: int = 2,
    max_channels: int = 20,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    contents: tuple[str, ...] = CONTENTS,
    layouts: tuple[str, ...] = LAYOUTS,
    max_images: int = 3,
    max_height: int = 12,
    max_width: int = 70,
) -> MapSpec:
    """Any map; widths reach past the widest vector register and its remainder."""
    shape = (
        draw(st.integers(1, max_images) | st.integers(0, 1)),
        draw(st.integers(min_channels, max_channels)),
        draw(_size(max_height)),
        draw(_size(max_width)),
    )
    return MapSpec(
        shape,
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from(contents)),
        draw(st.sampled_from(layouts)),
        draw(st.integers(0, 2**16)),
    )


@st.composite
def pairs(draw: st.DrawFn, *, coarse_layouts: tuple[str, ...] = LAYOUTS, **options: object) -> tuple[MapSpec, MapSpec]:
    """(coarse, fine): one shape and type, everything else drawn for each."""
    coarse = draw(maps(layouts=coarse_layouts, **options))
    contents = options.get("contents", CONTENTS)
    fine = coarse.like(
        seed=draw(st.integers(0, 2**16)),
        content=draw(st.sampled_from(contents)),
        layout=draw(st.sampled_from(LAYOUTS)),
    )
    return coarse, fine


@dataclass(frozen=True)
class MaskSpec:
    """A bool mask of one of the accepted shapes; ``share`` of its pixels are True."""

    shape: tuple[int, ...]
    share: float
    seed: int

    def make(self, device: str = "cpu") -> Tensor:
        g = torch.Generator().manual_seed(self.seed)
        return (torch.rand(self.shape, generator=g) < self.share).to(device)


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int, int, int]) -> MaskSpec | None:
    """None, or a mask for a map of ``shape``: all, some, few or none of its pixels valid."""
    n, _, h, w = shape
    form = draw(st.sampled_from([None, (h, w), (1, 1, h, w), (n, 1, h, w)]))
    if form is None:
        return None
    return MaskSpec(form, draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), draw(st.integers(0, 2**16)))


def point_counts(shape: tuple[int, int, int, int]) -> st.SearchStrategy[int | float]:
    """None, some, all and more than all pixels, and fractions."""
    total = shape[2] * shape[3]
    return st.integers(0, total + 3) | st.sampled_from([0, 1, total, 10 * total]) | st.floats(0.01, 1.0)


def kernel_sizes(largest: int = 15) -> st.SearchStrategy[int]:
    return st.sampled_from([1, 3, 3, 5, 7, 9, 11, 13, 15]).filter(lambda k: k <= largest)


def surroundings(x: torch.Tensor, layout: str) -> int:
    """How many elements of the memory behind a slice are NaN beyond those in the slice itself."""
    if not layout.startswith("sliced"):
        return 0
    whole = torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage())
    return int(whole.isnan().sum()) - int(x.isnan().sum())
