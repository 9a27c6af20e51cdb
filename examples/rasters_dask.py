"""Large rasters on a cluster, with Dask: each raster is a task; a worker keeps its model from one to the next.

    pip install 'dask[distributed]'
    python examples/rasters_dask.py out tile_1.tif tile_2.tif --model scenes [--scheduler tcp://host:8786]

Files lie where all machines see them. A raster whose worker is lost is begun again by Dask, on another one, and goes on
at the field where it was, as the fields that are done lie in the folder of results (docs/large.md).
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from dask.distributed import Client, as_completed

from magnet import MagNet, MagNetError


@functools.cache
def model_of(name: str) -> MagNet:
    return MagNet.from_pretrained(name, progress=False).eval()


def segment(raster: str, out: str, model: str) -> str:
    """The label file of one raster, or why there is none. A folder has one writer at a time, so each has its own."""
    try:
        record = model_of(model).predict_raster(raster, Path(out) / Path(raster).stem)
    except MagNetError as error:
        return f"not segmented: {error}"
    return f"{record.outputs['labels']}: {record.fields} fields, {record.seconds:.0f} s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("rasters", nargs="+")
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--scheduler", help="of a cluster that runs; default: two processes on this machine")
    args = parser.parse_args()
    with Client(args.scheduler) if args.scheduler else Client(n_workers=2, threads_per_worker=1) as client:
        tasks = client.map(segment, args.rasters, out=args.out, model=args.model, pure=False)
        told = [result for _, result in as_completed(tasks, with_results=True)]
    print("\n".join(told))
    raise SystemExit(any(line.startswith("not segmented") for line in told))
