"""Whether the strips or tiles of a deflate TIFF are what was written: libtiff leaves their checksums out."""

from __future__ import annotations

import os
import zlib

import numpy as np

from magnet.images.opening import CorruptImageError
from magnet.images.tiff import Pieces

__all__ = ["check_pieces", "checksum"]


def check_pieces(path: str | os.PathLike[str], pieces: Pieces, samples: np.ndarray) -> None:
    """Compare the checksums in a file with those of what was decoded of it.

    That takes no second decoding, unless they differ: because pixels do, because what was decoded is no longer what
    was stored (inverted grey), or because a tile at the edge holds more than is seen. Then the piece is inflated,
    which tells.

    Args:
        path: the file.
        pieces: where its strips or tiles are.
        samples: (H, W) or (H, W, C), of the type that they are stored in.

    Raises:
        CorruptImageError: the data of a piece are damaged.
    """
    height, width = pieces.size
    corners = [(y, x) for y in range(0, samples.shape[0], height) for x in range(0, samples.shape[1], width)]
    with open(path, "rb") as file:
        for (y, x), offset, length in zip(corners, pieces.offsets, pieces.lengths, strict=False):
            file.seek(offset + length - 4)
            if file.read(4) == checksum(samples[y : y + height, x : x + width], pieces.predictor):
                continue
            file.seek(offset)
            try:
                zlib.decompressobj().decompress(file.read(length))
            except zlib.error as error:
                raise CorruptImageError(
                    f"image: expected a whole TIFF, got damaged data at byte {offset} ({error}); replace the file: "
                    f"'{path}'"
                ) from error


def checksum(samples: np.ndarray, predictor: int) -> bytes:
    """As deflate writes it after the data."""
    if predictor == 2:
        stored = np.empty(samples.shape, samples.dtype)
        stored[:, :1] = samples[:, :1]
        np.subtract(samples[:, 1:], samples[:, :-1], out=stored[:, 1:])
    else:
        stored = np.ascontiguousarray(samples)
    return zlib.adler32(stored.data).to_bytes(4, "big")
