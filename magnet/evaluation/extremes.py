"""The images where refinement gained and lost most, kept small while the evaluation runs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["Extreme", "Extremes", "pick_extremes"]


@dataclass(frozen=True)
class Extreme:
    """Two predictions of one image.

    Attributes:
        index: of the image in the data set.
        gain: mean IoU of refined less that of coarse, as fractions of 1.
    """

    index: int
    gain: float
    _shape: tuple[int, int]
    _coarse: bytes
    _refined: bytes

    @property
    def coarse(self) -> np.ndarray:
        """(H, W) uint8 labels."""
        return self._unpack(self._coarse)

    @property
    def refined(self) -> np.ndarray:
        """(H, W) uint8 labels."""
        return self._unpack(self._refined)

    def _unpack(self, packed: bytes) -> np.ndarray:
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self._shape)


class Extremes:
    """Keeps the ``count`` highest gains and the ``count`` lowest, label maps compressed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._highest: list[Extreme] = []
        self._lowest: list[Extreme] = []

    def add(self, index: int, gain: float, coarse: Tensor, refined: Tensor) -> None:
        """Offer an image; labels (H, W) uint8. One without a figure (NaN) is not kept."""
        high = _rank(self._highest, index, gain, 1) < self.count
        low = _rank(self._lowest, index, gain, -1) < self.count
        if math.isnan(gain) or not (high or low):
            return
        packed = [zlib.compress(labels.cpu().numpy().tobytes(), 1) for labels in (coarse, refined)]
        kept = Extreme(index, gain, (coarse.shape[0], coarse.shape[1]), packed[0], packed[1])
        if high:
            self._highest = sorted([*self._highest, kept], key=_order)[: self.count]
        if low:
            self._lowest = sorted([*self._lowest, kept], key=_order)[-self.count :]

    @property
    def kept(self) -> list[Extreme]:
        """All that may be among the extremes, each once."""
        return list({e.index: e for e in (*self._highest, *self._lowest)}.values())


def _order(extreme: Extreme) -> tuple[float, int]:
    return -extreme.gain, extreme.index


def _rank(kept: Sequence[Extreme], index: int, gain: float, sign: int) -> int:
    """How many of ``kept`` come before (``sign`` 1) or after (-1) an image with ``gain``."""
    own = (-gain, index)
    return sum((_order(e) < own) if sign > 0 else (_order(e) > own) for e in kept)


def pick_extremes(kept: Sequence[Extreme], count: int) -> tuple[list[Extreme], list[Extreme]]:
    """At most ``count`` images that gained and as many that lost, most first; one that did neither is in none.

    Args:
        kept: what ``Extremes`` kept, of every process.
        count: of each.
    """
    ordered = sorted(kept, key=_order)
    gained, lost = [e for e in ordered if e.gain > 0], [e for e in ordered[::-1] if e.gain < 0]
    return gained[:count], lost[:count]
