"""How fields of a raster become one answer: who judges the colours, overlaps, blending. One JSON file of figures.

    python benchmarks/ablations/fields.py --model hrf --data DIR/hrf --images 4 --out FILE.json

Each image is taken for ground: fields of a quarter of its last scale, at its own pixels, walked over with the scales
and the refiners that end there. Their probabilities are merged in several ways; figures are IoU a class, of all images.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from magnet import MagNet
from magnet.data import DataFolder
from magnet.evaluation.metrics import confusion_matrix
from magnet.images.match_colours import match_channels, own_statistics
from magnet.images.tensors import normalize, to_tensor
from magnet.walk.fields import Field

OVERLAPS = (0.0, 0.125, 0.25)


def smaller(model: MagNet) -> MagNet:
    """The model without its last two scales, which keeps what its last refiners have learnt."""
    scales = model.settings.scales[:2]
    refiners = list(model.refiners)[-1:]
    return MagNet(
        model.segmenter,
        refiners,
        scales=scales,
        patch_size=model.settings.patch_size,
        n_points=model.settings.n_points,
    ).eval()


def lay_out(size: tuple[int, int], field: tuple[int, int], overlap: float) -> list[Field]:
    """Fields with just this overlap, but for the last ones, which end at the border.

    ``magnet.walk.fields`` spreads them evenly, so that they often share more than is asked for.
    """
    spans = []
    for length, side in zip(size, field, strict=True):
        last = length - side
        starts = [*range(0, last, round(side * (1 - overlap))), last]
        edges = [0, *((a + b + side) // 2 for a, b in pairwise(starts)), length]
        spans.append([(start, start + side, *own) for start, own in zip(starts, pairwise(edges), strict=True)])
    return [Field(0, (x[0], y[0], x[1], y[1]), (x[2], y[2], x[3], y[3])) for y in spans[0] for x in spans[1]]


def weights(field: Field, way: str) -> Tensor:
    """(h, w) weight of each pixel of a field: its own part, all alike, or falling linearly towards the border."""
    x0, y0, x1, y1 = field.box
    if way == "mean":
        return torch.ones(y1 - y0, x1 - x0)
    if way == "nearest":
        own = torch.zeros(y1 - y0, x1 - x0)
        own[field.own[1] - y0 : field.own[3] - y0, field.own[0] - x0 : field.own[2] - x0] = 1
        return own
    rows, columns = (1 - (2 * (torch.arange(n) + 0.5) / n - 1).abs() for n in (y1 - y0, x1 - x0))
    return rows[:, None] * columns


def ways_of(overlap: float) -> tuple[str, ...]:
    return ("nearest",) if overlap == 0 else ("nearest", "linear", "mean")


def write(
    path: Path,
    name: str,
    model: MagNet,
    images: int,
    counts: dict[tuple[str, float, str], Tensor],
    fields: dict[float, int],
    names: list[str],
) -> None:
    """The figures of so many images."""
    rows = []
    for (colours, overlap, way), confusion in counts.items():
        hit = confusion.diag().double()
        iou = 100 * hit / (confusion.sum(0) + confusion.sum(1) - hit)
        shown = {name: round(float(v), 2) for name, v in zip(names, iou, strict=True)}
        rows.append({"colours": colours, "overlap": overlap, "merged": way, "fields": fields[overlap], "iou": shown})
    content = {"model": name, "field": list(model.settings.scales[-1]), "images": images, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    whole = MagNet.from_pretrained(args.model)
    model, dataset = smaller(whole), DataFolder(args.data, args.split)
    statistics = whole.settings.colour_statistics
    assert statistics is not None
    classes = dataset.num_classes
    counts: dict[tuple[str, float, str], Tensor] = {}
    fields_of: dict[float, int] = {}
    for index in range(args.images):
        image, labels = dataset.load(index)
        pixels = to_tensor(image)[None]
        size = image.shape[0], image.shape[1]
        for colours in ("field", "whole"):
            own = own_statistics(pixels) if colours == "whole" else None
            for overlap in OVERLAPS if colours == "whole" else (0.25,):
                fields = lay_out(size, model.settings.scales[-1], overlap)
                fields_of[overlap] = len(fields)
                merged = {way: torch.zeros(classes, *size) for way in ways_of(overlap)}
                for field in tqdm(fields, desc=f"{dataset.name(index)} {colours} {overlap}", leave=False):
                    x0, y0, x1, y1 = field.box
                    part = pixels[..., y0:y1, x0:x1]
                    seen = normalize(match_channels(part, *statistics, own))
                    found = model(seen)[0]
                    for way, map_ in merged.items():
                        map_[:, y0:y1, x0:x1] += found * weights(field, way)
                for way, map_ in merged.items():
                    key = colours, overlap, way
                    more = confusion_matrix(map_.argmax(dim=0).numpy().astype(np.uint8), labels, classes)
                    counts[key] = counts.get(key, torch.zeros(classes, classes, dtype=torch.int64)) + more
        write(args.out, args.model, model, index + 1, counts, fields_of, dataset.class_names)


if __name__ == "__main__":
    main()
