"""Tiles that several threads want at once are decoded once; where that fails each is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from magnet.images.rasters.raster import Box
from magnet.images.rasters.tiles import Tile, TiledRaster


class _Held(TiledRaster):
    """Decodes when it is let go, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__("held", ((64, 64),), 1, np.dtype(np.uint8))
        self.tiles = ((32, 32),)
        self.begun, self.failures = 0, failures
        self.first, self.go = threading.Event(), threading.Event()

    def _decode(self, level: int, box: Box) -> Tile:
        self.begun += 1
        failing, self.failures = self.failures > 0, self.failures - 1
        self.first.set()
        assert self.go.wait(60)
        if failing:
            raise ValueError("damaged")
        return np.full((box[3] - box[1], box[2] - box[0], 1), 7, np.uint8), None


def _by_threads(raster: _Held, count: int) -> list[np.ndarray | BaseException]:
    with ThreadPoolExecutor(count) as pool:
        reads = [pool.submit(raster.read_level, 0, (0, 0, 20, 20)) for _ in range(count)]
        assert raster.first.wait(60)
        raster.go.set()
        return [one.exception(60) or one.result()[0] for one in reads]


def test_a_tile_that_is_being_decoded_is_waited_for() -> None:
    raster = _Held()
    found = _by_threads(raster, 4)
    assert all(isinstance(one, np.ndarray) and (one == 7).all() for one in found)
    assert raster.begun == 1 and raster.tiles_read[0] == 1 and not raster._decoded


@pytest.mark.parametrize("failures", [1, 4])
def test_a_tile_that_could_not_be_decoded_is_tried_by_those_who_waited(failures: int) -> None:
    raster = _Held(failures)
    found = _by_threads(raster, 4)
    assert sum(isinstance(one, ValueError) for one in found) == failures
    assert raster.tiles_read[0] == (1 if failures < 4 else 0) and not raster._decoded
