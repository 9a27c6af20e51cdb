"""How many tiles of a slide are decoded: of its finest level, with few patches looked at, or little tissue.

    python benchmarks/slide_tiles.py [--side 32768] [--tissue 0.1] [--n-patches 3] [--factor 2] [--step 2]

Writes a whole slide as scanners do (tiles of 256 in JPEG, levels by ``--factor``), of few tiles over and over, and
white where there is no tissue; walks over the tissue with a network too small to take time, and prints one line of
JSON. The model's scales go from 512 to 2048 pixels by ``--step``, its patches are of 512: of the last scale 16.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magnet import MagNet, open_raster
from magnet.images.wanted.masks import open_wanted
from magnet.model.raster_walk import RasterWalk
from magnet.walk.fields import OVERLAP

TILE = 256
_COARSEST = 4096  # pixels along a side: fewer tiles than 16 would not show the disc


def is_tissue(x: np.ndarray, y: np.ndarray, side: int, tissue: float) -> np.ndarray:
    """Whether pixels lie in the disc that is ``tissue`` of the slide."""
    return np.hypot(x - side / 2, y - side / 2) <= side * np.sqrt(tissue / np.pi) if tissue < 1 else x == x


def write_slide(path: Path, side: int, tissue: float, factor: int) -> None:
    """An SVS of ``side`` x ``side`` pixels, of which a disc holds ``tissue``; other tiles are white."""
    import tifffile

    rng = np.random.default_rng(0)
    kinds = [_jpeg(rng.integers(0, 256, (8, 8, 3)) * 0.8 + rng.integers(0, 50, (8, 8, 3))) for _ in range(16)]
    white = _jpeg(np.full((8, 8, 3), 243.0))

    def tiles(length: int) -> Iterator[bytes]:
        count = -(-length // TILE)
        centres = (np.arange(count) + 0.5) * side / count
        inside = is_tissue(centres, centres[:, None], side, tissue) | np.zeros((count, count), bool)
        for row in range(count):
            for column in range(count):
                yield kinds[(row * 7 + column * 3) % len(kinds)] if inside[row, column] else white

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        length = side
        while length >= _COARSEST:
            file.write(
                tiles(length),
                shape=(length, length, 3),
                dtype=np.uint8,
                photometric="rgb",
                tile=(TILE, TILE),
                extratags=[(530, "H", 2, (2, 2), True)],
                metadata=None,
                description=f"Aperio Image Library v11.2.1 \r\n{length}x{length} ({TILE}x{TILE}) Q=70|MPP = 0.25",
            )
            length //= factor
    with tifffile.TiffFile(path, mode="r+") as written:  # tifffile itself writes JPEG by a further package alone
        for page in written.pages:
            page.tags["Compression"].overwrite(7)  # type: ignore[union-attr]
            page.tags["PhotometricInterpretation"].overwrite(6)  # type: ignore[union-attr]


def _jpeg(shapes: np.ndarray) -> bytes:
    pixels = shapes.clip(0, 255).astype(np.uint8).repeat(TILE // 8, 0).repeat(TILE // 8, 1)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=70, subsampling=2)
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--tissue", type=float, default=0.1, help="share of the slide; 1: all of it")
    parser.add_argument("--n-patches", type=int, help="of 16 in a field at the last scale")
    parser.add_argument("--factor", type=int, default=2, choices=(2, 4), help="from level to level")
    parser.add_argument("--step", type=int, default=2, choices=(2, 4), help="from scale to scale of the model")
    parser.add_argument("--overlap", type=float, default=OVERLAP)
    parser.add_argument("--file", type=Path, help="an existing one, or where to keep it")
    args = parser.parse_args()

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Conv2d(3, 2, 1), torch.nn.Upsample(scale_factor=16))
    network.num_classes = 2  # type: ignore[assignment]
    sides = [512, 1024, 2048] if args.step == 2 else [512, 2048]
    model = MagNet(network, None, scales=[(n, n) for n in sides], patch_size=(512, 512), n_points=0.5).eval()
    n_patches = None
    if args.n_patches is not None:  # as large a share of each scale
        n_patches = [-(-args.n_patches // 4), args.n_patches][-len(sides) + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "slide.svs"
        if not path.exists():
            write_slide(path, args.side, args.tissue, args.factor)
        settings, start = model.settings.changed(n_patches=n_patches), time.perf_counter()
        with (
            open_raster(path) as raster,
            open_wanted(raster, None, tissue=args.tissue < 1) as wanted,
            RasterWalk(
                model, raster, settings, Path(folder) / "fields", [], wanted=wanted, overlap=args.overlap
            ) as walk,
        ):
            walked = len(list(walk))
            (height, width), read = raster.levels[0], dict(sorted(raster.tiles_read.items()))
            result = {
                **{name: value for name, value in vars(args).items() if name != "file"},
                "fields": walked,
                "seconds": round(time.perf_counter() - start, 1),
                "tiles_read": read,
                "share_of_finest": round(read.get(0, 0) / (-(-height // TILE) * -(-width // TILE)), 3),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
