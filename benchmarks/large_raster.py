"""Time, peak memory and decoded tiles of rasters too large for memory.

    python benchmarks/large_raster.py --side 16384 [--model scenes] [--n-patches 4] [--share 1.0] [--delay 0.05]
                                      [--fields-per-pass 4]

Writes a cloud-optimised GeoTIFF of generated scenery (``--share`` of it; nodata elsewhere), segments it in a process of
its own, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_cog(path: Path, side: int, share: float) -> None:
    """Smooth shapes with grain, 512 x 512 tiles in JPEG-like deflate, overviews down to 512 pixels."""
    import rasterio
    from rasterio.shutil import copy

    rng = np.random.default_rng(0)
    piece = rng.integers(0, 256, (64, 64, 3)).astype(np.float32).repeat(32, 0).repeat(32, 1)
    piece = (piece * 0.8 + rng.integers(0, 50, piece.shape)).astype(np.uint8)
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.8e6),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "rgb",
        "sparse_ok": True,
        **({"nodata": 0} if share < 1 else {}),
    }
    columns = int(side * share) // 2048 * 2048 if share < 1 else side
    raw = path.with_suffix(".raw.tif")
    with rasterio.open(raw, "w", **profile) as file:
        for y in range(0, side, 2048):
            for x in range(0, columns, 2048):
                shown = np.roll(piece, (y // 7 + x // 3, x // 5), (0, 1))[: side - y, : side - x]
                file.write(
                    np.maximum(np.moveaxis(shown, 2, 0), 1),
                    window=rasterio.windows.Window(x, y, shown.shape[1], shown.shape[0]),
                )
    copy(raw, path, driver="COG", compress="deflate", level=1, overview_resampling="average", sparse_ok="yes")
    raw.unlink()


def segment(path: Path, args: argparse.Namespace) -> None:
    """In this process: one line of JSON."""
    import torch

    from magnet import MagNet, open_raster
    from magnet.evaluation.meter import peak_memory
    from magnet.images.rasters.raster import Raster

    torch.set_num_threads(2)
    cpu = torch.device("cpu")
    if args.delay:
        whole = Raster.read_level

        def late(self: Raster, level: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
            time.sleep(args.delay)
            return whole(self, level, box)

        Raster.read_level = late  # type: ignore[method-assign]
    model = MagNet.from_pretrained(args.model)
    given = {} if args.n_patches is None else {"n_patches": args.n_patches}
    with tempfile.TemporaryDirectory() as out, open_raster(path) as raster:
        base = peak_memory(cpu)
        before = resource.getrusage(resource.RUSAGE_SELF)
        record = model.predict_raster(
            raster,
            out,
            name="a",
            workers=args.workers,
            fields_per_pass=args.fields_per_pass,
            progress=False,
            **given,
        )
        after = resource.getrusage(resource.RUSAGE_SELF)
        tiles = dict(sorted(raster.tiles_read.items()))
        number = [-(-h // 512) * -(-w // 512) for h, w in raster.levels]
    print(
        json.dumps(
            {
                "side": args.side,
                "seconds": round(record.seconds, 1),
                "seconds_per_megapixel": round(record.seconds / (args.side**2 / 1e6), 3),
                "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
                "peak_mib": round(peak_memory(cpu)),
                "import_mib": round(base),
                "fields": record.fields,
                "tiles_read_of": {level: [tiles.get(level, 0), all_of_it] for level, all_of_it in enumerate(number)},
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--n-patches", type=int)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each read takes longer")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fields-per-pass", type=int)
    parser.add_argument("--file", type=Path, help="an existing one, or where to keep it")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        segment(args.file, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "large.tif"
        if not path.exists():
            write_cog(path, args.side, args.share)
        again = [sys.executable, __file__, *sys.argv[1:], "--here", "--file", str(path)]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
