"""Rasters stored in tiles: only those that a window touches are decoded, and a few are kept."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import OrderedDict
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.images.rasters.raster import Box, Raster

__all__ = ["TiledRaster", "handy_tile"]

_CACHE_BYTES = 1 << 27  # of decoded tiles that a raster keeps
_LEAST, _MOST = 1 << 16, 1 << 24  # bytes of a tile

Tile = tuple[np.ndarray, np.ndarray | None]  # pixels; valid, None: all are


def handy_tile(tile: Size, level: Size, pixel: int) -> Size:
    """The (h, w) that is decoded at once: the tile as stored, several where it is a strip of a few rows, or part of it.

    Args:
        tile: as stored.
        level: (H, W) that it is a tile of.
        pixel: bytes.
    """
    height, width = min(tile[0], level[0]), min(tile[1], level[1])
    row = width * pixel
    if width == level[1] and height * row < _LEAST:
        height = min(height * max(1, _LEAST // (height * row)), level[0])
    return max(1, min(height, _MOST // row)), width


class TiledRaster(Raster):
    """A raster whose windows are put together from tiles.

    Attributes:
        tiles: (h, w) of the tiles of each level; those at the right and at the bottom may be smaller.
        cache_bytes: of decoded tiles that are kept.
    """

    def __init__(self, name: str, levels: tuple[Size, ...], channels: int, dtype: np.dtype, **more: Any) -> None:
        super().__init__(name, levels, channels, dtype, **more)
        self.tiles: tuple[Size, ...] = levels
        self._kept: OrderedDict[tuple[int, int, int], Tile] = OrderedDict()
        self._kept_bytes = 0
        self.cache_bytes = _CACHE_BYTES
        self._lock = threading.Lock()

    @abstractmethod
    def _decode(self, level: int, box: Box) -> Tile:
        """The pixels of one tile, (h, w, channels), and which of them are valid; in any thread."""

    def _close(self) -> None:
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def _window(self, level: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = box
        height, width = self.tiles[level]
        pixels = np.empty((y1 - y0, x1 - x0, self.channels), self.dtype)
        valid = np.ones((y1 - y0, x1 - x0), bool)
        for row in range(y0 // height, -(-y1 // height)):
            for column in range(x0 // width, -(-x1 // width)):
                left, top = column * width, row * height
                part, inside = self._tile(level, row, column)
                ya, yb = max(y0, top), min(y1, top + height)
                xa, xb = max(x0, left), min(x1, left + width)
                there = slice(ya - y0, yb - y0), slice(xa - x0, xb - x0)
                here = slice(ya - top, yb - top), slice(xa - left, xb - left)
                pixels[there] = part[here]
                if inside is not None:
                    valid[there] = inside[here]
        return pixels, valid

    def _tile(self, level: int, row: int, column: int) -> Tile:
        key = level, row, column
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            self.tiles_read[level] += 1
        height, width = self.tiles[level]
        y, x = row * height, column * width
        # without the lock: two threads may decode one tile, and both are right
        bottom, right = self.levels[level]
        tile = self._decode(level, (x, y, min(x + width, right), min(y + height, bottom)))
        with self._lock:
            if not self._closed and key not in self._kept:
                self._kept[key] = tile
                self._kept_bytes += _bytes(tile)
                while self._kept_bytes > self.cache_bytes and len(self._kept) > 1:
                    self._kept_bytes -= _bytes(self._kept.popitem(last=False)[1])
        return tile


def _bytes(tile: Tile) -> int:
    return tile[0].nbytes + (0 if tile[1] is None else tile[1].nbytes)
