"""Random numbers that are the same on every machine and with every numpy."""

from __future__ import annotations

import numpy as np


class Random:
    """Draws from PCG64's plain doubles only: numpy promises that stream, and not that of its distributions."""

    def __init__(self, seed: int, stream: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def integer(self, low: int, high: int) -> int:
        """A whole number, low <= n < high."""
        return low + min(int(self._generator.random() * (high - low)), high - low - 1)

    def chance(self, probability: float) -> bool:
        return float(self._generator.random()) < probability

    def bell(self) -> float:
        """Nearly normal, mean 0, standard deviation about 0.58, never beyond 2."""
        return float(self._generator.random(4).sum()) - 2.0

    def field(self, height: int, width: int) -> np.ndarray:
        """(height, width) float32, uniform in [-1, 1)."""
        return self._generator.random((height, width), dtype=np.float32) * 2 - 1

    def branch(self, stream: int) -> Random:
        """A generator of its own for one object, so that what it draws moves nothing else in the scene."""
        return Random(self.integer(0, 1 << 30), stream)
