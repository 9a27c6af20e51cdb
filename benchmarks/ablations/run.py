"""The paper's ablations on one model and data folder: one JSON file of figures.

    python benchmarks/ablations/run.py --model hrf --data DIR/hrf --every 5 --fast 4,16,12 --out FILE.json

Variants are worked on one after the other over the same images; those that come to the same settings share one run.
Rows that FILE.json has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from variants import Variant, build, variants

import magnet
from magnet.cli.evaluate import evaluate
from magnet.data import DataFolder


class Every:
    """Every ``step``-th image of a data set."""

    def __init__(self, dataset: DataFolder, step: int) -> None:
        self._dataset, self._indices = dataset, range(0, len(dataset), step)
        self.class_names, self.num_classes = dataset.class_names, dataset.num_classes

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return self._dataset.name(self._indices[index])

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._dataset.load(self._indices[index])


def figures(model: magnet.MagNet, variant: Variant, images: Every) -> dict[str, Any]:
    own = build(model, variant)
    mode = "fast" if own.n_patches is not None else variant.mode
    n_patches = 4 if own.n_patches is None else own.n_patches
    result = evaluate(own, images, modes=[mode], n_patches=n_patches, per_scale=False, boundary_width=0)[mode]
    return {"scales": [list(size) for size in own.scales], **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a model, or the name of a shipped one")
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="every so-manieth image of the split")
    parser.add_argument("--fast", required=True, help="patches of MagNet-Fast at each later scale, as 4,16,12")
    parser.add_argument("--groups", help="only these tables, as ways,points")
    parser.add_argument("--amp", default="bf16", choices=("none", "bf16"))
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    model = magnet.MagNet.from_pretrained(args.model, amp=args.amp)
    images = Every(DataFolder(args.data, args.split), args.every)
    wanted = args.groups.split(",") if args.groups else None
    out = Path(args.out)
    kept = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    measured = {(row["group"], row["name"]): row for row in kept}
    rows: list[dict[str, Any]] = []
    done: dict[str, dict[str, Any]] = {}
    for variant in variants(len(model.scales), [int(part) for part in args.fast.split(",")]):
        if wanted and variant.group not in wanted:
            continue
        own = {name: getattr(model, name) for name in ("n_points", "kernel_size", "points_by")}
        same = json.dumps([variant.mode, variant.scales or list(range(len(model.scales))), {**own, **variant.settings}])
        if same not in done:
            known = measured.get((variant.group, variant.name))
            done[same] = known or figures(model, variant, images)
        rows.append({**done[same], "group": variant.group, "name": variant.name})
        print(variant.group, variant.name, done[same]["mean_iou"], done[same]["seconds_median"], flush=True)
        content = {
            "model": args.model,
            "data": Path(args.data).name,
            "split": args.split,
            "images": [images.name(i) for i in range(len(images))],
            "amp": args.amp,
            "threads": torch.get_num_threads(),
            "settings": {**own, "scales": [list(size) for size in model.scales]},
            "rows": rows,
        }
        out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
