"""What says which pixels of a raster are to be segmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from magnet.bounds import Box
from magnet.errors import MagNetError

__all__ = ["AllOf", "Wanted", "mask_errors"]


class Wanted(Protocol):
    """Which pixels of one raster are wanted. Several threads may ask at once."""

    @property
    def identity(self) -> str:
        """What tells it from others: with another one, a job that was broken off begins anew."""

    @property
    def none_wanted(self) -> str:
        """The message of the error where no pixel is wanted."""

    def read(self, box: Box) -> np.ndarray:
        """(y1 - y0, x1 - x0) bool: the wanted pixels within ``box`` (x0, y0, x1, y1), in pixels of the finest level."""


class AllOf:
    """The pixels that each of several wants."""

    def __init__(self, parts: Sequence[Wanted]) -> None:
        self._parts = parts
        self.identity = " and ".join(one.identity for one in parts)

    @property
    def none_wanted(self) -> str:
        return " Or: ".join(one.none_wanted for one in self._parts)

    def read(self, box: Box) -> np.ndarray:
        first, *others = self._parts
        wanted = first.read(box)
        for one in others:
            if not wanted.any():
                break
            wanted &= one.read(box)
        return wanted


@contextmanager
def mask_errors() -> Iterator[None]:
    """What is wrong with the file of a mask is told of the mask: it is no fault of the image that is segmented."""
    try:
        yield
    except MagNetError as error:
        name, colon, rest = str(error).partition(":")
        raise MagNetError(f"mask{colon}{rest}" if name in ("image", "source") else str(error)) from error
    except (TypeError, ValueError) as error:
        name, colon, rest = str(error).partition(":")
        raise type(error)(f"mask{colon}{rest}" if name == "source" else str(error)) from error
