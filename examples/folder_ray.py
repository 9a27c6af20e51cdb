"""A folder of images on a cluster, with Ray Data: paths go to workers that hold a model each, label files come back.

    pip install 'ray[data]'
    python examples/folder_ray.py photos labels --model scenes --workers 4

The folders are ones that all machines see. Ray starts a task again whose machine was lost. On one machine, and on a few
without Ray, `magnet predict --part` does the same and goes on where it was (docs/large.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import ray
from PIL import Image

from magnet import MagNet


class Segment:
    """Segments a batch of paths; made once a worker."""

    def __init__(self, model: str, out: str, device: str) -> None:
        self._model = MagNet.from_pretrained(model, progress=False).to(device).eval()
        self._out = Path(out)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        paths = [str(path) for path in batch["path"]]
        written = []
        for path, found in zip(
            paths, self._model.predict_many(paths, on_error="skip", probabilities=False), strict=True
        ):
            target = self._out / f"{Path(path).stem}.png"
            if found is not None:  # what cannot be read is named in the worker's log
                Image.fromarray(found.labels.byte().numpy()).save(target)
            written.append("" if found is None else str(target))
        return {"path": batch["path"], "labels": np.array(written)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="one for each worker")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    paths = [str(path.resolve()) for path in sorted(args.images.iterdir()) if path.is_file()]
    first: dict[str, str] = {}  # of each name of a label file
    for path in paths:
        if (other := first.setdefault(Path(path).stem, path)) != path:
            parser.error(f"{other} and {path} would write the same labels, {Path(path).stem}.png: rename one")
    done = ray.data.from_items([{"path": path} for path in paths]).map_batches(
        Segment,
        fn_constructor_args=(args.model, str(args.out.resolve()), "cuda" if args.gpu else "cpu"),
        batch_size=8,
        concurrency=args.workers,
        num_gpus=1 if args.gpu else 0,
    )
    failed = [row["path"] for row in done.iter_rows() if not row["labels"]]
    print(f"{len(paths) - len(failed)} of {len(paths)} segmented")
    for path in failed:
        print(f"not read: {path}")
    raise SystemExit(bool(failed))
