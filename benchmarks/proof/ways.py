"""Ways to segment an image with one network, as people do without this library: whole, and by a sliding window."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.images.tensors import normalize, resize
from magnet.walk.maps import labels_at

__all__ = ["Way", "kind_of", "rival_ways", "segment_by"]

Segment = Callable[[Tensor], Tensor]
_BATCH = 8


@dataclass(frozen=True)
class Way:
    """How an image is looked at.

    name: for tables; size: (H, W) that the whole image is resized to; window: (h, w) of what the network sees, equal to
    ``size`` for one pass over all of it; overlap: of windows next to each other, as a fraction; gaussian: weigh the
    middle of a window more, by a Gaussian with an eighth of its sides as deviation; flip: mean with the mirrored image.
    """

    name: str
    size: Size
    window: Size
    overlap: float = 0.0
    gaussian: bool = False
    flip: bool = False


def rival_ways(window: Size, sizes: Sequence[Size]) -> Iterator[Way]:
    """All ways of a network that sees ``window``, at each of ``sizes`` that is no smaller."""
    for size in sizes:
        if size[0] < window[0] or size[1] < window[1]:
            continue
        at = f"{size[0]}x{size[1]}"
        if tuple(size) == tuple(window):
            yield Way(f"whole at {at}", size, window)
            yield Way(f"whole at {at}, flips", size, window, flip=True)
            continue
        yield Way(f"whole at {at}", size, size)
        yield Way(f"whole at {at}, flips", size, size, flip=True)
        yield Way(f"window at {at}", size, window)
        yield Way(f"window at {at}, half overlap, Gaussian", size, window, 0.5, True)
        yield Way(f"window at {at}, half overlap, Gaussian, flips", size, window, 0.5, True, True)


def kind_of(name: str) -> str:
    """The name of a way without its size."""
    return re.sub(r" at \d+x\d+", "", name)


@torch.inference_mode()
def segment_by(way: Way, segment: Segment, pixels: Tensor, size: Size) -> Tensor:
    """Labels (H, W) int64 at ``size`` of pixels (1, 3, H, W) in [0, 1].

    Args:
        way: how.
        segment: normalised images (N, 3, h, w) -> probabilities (N, C, h, w).
        pixels: of the image.
        size: of the labels.
    """
    seen = normalize(resize(pixels, way.size))
    probabilities = _probabilities(way, segment, seen)
    if way.flip:
        probabilities = probabilities + _probabilities(way, segment, seen.flip(-1)).flip(-1)
    return labels_at(probabilities[0], size)


def _probabilities(way: Way, segment: Segment, image: Tensor) -> Tensor:
    """(1, C, H, W), not normalised where windows are weighed."""
    if way.size == way.window:
        return segment(image)
    (height, width), (h, w) = way.size, way.window
    weight = _gaussian(h)[:, None] * _gaussian(w) if way.gaussian else torch.ones(h, w)
    places = [(y, x) for y in _starts(height, h, way.overlap) for x in _starts(width, w, way.overlap)]
    total: Tensor | None = None
    count = image.new_zeros(height, width)
    for first in range(0, len(places), _BATCH):
        group = places[first : first + _BATCH]
        found = segment(torch.cat([image[..., y : y + h, x : x + w] for y, x in group]))
        if total is None:
            total = image.new_zeros(1, found.shape[1], height, width)
        for (y, x), values in zip(group, found, strict=True):
            total[0, :, y : y + h, x : x + w] += values * weight
            count[y : y + h, x : x + w] += weight
    assert total is not None
    return total / count


def _starts(length: int, part: int, overlap: float) -> list[int]:
    count = 1 + math.ceil((length - part) / (part * (1 - overlap)))
    return [round(i * (length - part) / max(count - 1, 1)) for i in range(count)]


def _gaussian(length: int) -> Tensor:
    places = torch.arange(length) - (length - 1) / 2
    return torch.exp(-0.5 * (places / (length / 8)) ** 2).clamp(min=1e-3)
