"""MagNet against networks trained for what they do: trains all of them, tests every way, writes one JSON file.

    python benchmarks/proof/run.py camvid --data DIR --seed 0 --work DIR --out FILE.json

DIR of --data holds the data folders, as MAGNET_DATA does. Networks that --work has are not trained again, rows that
FILE.json has are not measured again. Which way of a rival is its best is chosen by validation images (see table.py):
the test images see the best of each kind (whole, window and so on), over the seeds that FILE.json has, so that a seed
may be run again when others have changed the choice.
Seconds are those of one core, as the system counts them for the process, so that they hold on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sets import SETS, Ours, ProofSet
from table import best_of_kinds
from torch import Tensor
from walks import walk_variants
from ways import Way, rival_ways, segment_by

import magnet
from magnet.bounds import Size
from magnet.cli.config import parse_config
from magnet.data.dataset import Dataset
from magnet.data.open import open_split
from magnet.evaluation.meter import peak_memory, reset_peak_memory
from magnet.evaluation.modes import walk
from magnet.evaluation.scores import Scorer, figures
from magnet.images.match_colours import channel_statistics
from magnet.images.tensors import to_tensor
from magnet.training.config import TrainConfig
from magnet.training.refiner import load_segmenter

Predict = Callable[[np.ndarray], Tensor]
KEPT = ("mean_iou", "boundary_iou", "frequency_weighted_iou", "iou")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--data", required=True, help="root of the data folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", required=True, type=Path, help="folder of the trained networks")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--amp", choices=("bf16", "none"), default="bf16", help="none on processors without bfloat16")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="a network: no others; repeatable")
    parser.add_argument(
        "--no-refiner", action="store_true", help="of MagNets on a network that is trained: the ways without"
    )
    args = parser.parse_args()
    chosen = only(SETS[args.set], args.only)
    folder = args.work / f"{args.set}_{args.seed}"
    recipe = Path(__file__).with_name(chosen.recipe)
    common = ["--config", str(recipe if recipe.is_file() else chosen.recipe), "--seed", str(args.seed)]
    common += ["--out", str(folder), "--trust", *(["--amp", "none"] if args.amp == "none" else [])]
    start = ["--segmenter.weights", str(args.work / chosen.weights)] if chosen.weights else []
    os.environ["MAGNET_DATA"] = args.data

    def network_of(ours: Ours) -> Path:
        return args.work / f"{args.set}_{0 if ours.one_network else args.seed}" / stem(ours.finished)

    took = {}
    for rival in chosen.rivals:
        name = stem(rival.name)
        took[rival.name] = train([*common, *start, "--name", name, *rival.arguments()], folder / name)
    for ours in chosen.ours:
        if ours.shipped and not args.seed:
            took[ours.name] = ours.took
            continue
        if args.no_refiner:
            if not ours.finished or (ours.one_network and args.seed):
                raise SystemExit(f"--no-refiner: '{ours.name}' has no network of its own of this seed; leave it out")
            took[ours.name] = 0
            continue
        name, begin = stem(ours.name), start
        if ours.finished:
            begin = ["--segmenter.train", "false", *started_from(network_of(ours))]
        stages = [["--stage", "refiner", *(chosen.refiner if args.amp == "bf16" else ())]]
        if not ours.finished:
            stages.insert(0, ["--stage", "segmenter"])
        took[ours.name] = train([*common, *begin, "--name", name, *ours.arguments], folder / name, stages)
    if args.train_only:
        return
    torch.set_num_threads(1)
    rows = Rows(args.out, args.set, args.seed, args.amp, took)
    for split in ("val", "test"):
        images = open_split(parse_config(common).data, split)[0]
        for ours in chosen.ours:
            trained = ours.shipped if ours.shipped and not args.seed else str(folder / stem(ours.name) / "model")
            if args.no_refiner:
                model = unrefined(parse_config([*common, *ours.arguments]), images, network_of(ours), args.amp)
            else:
                model = magnet.MagNet.from_pretrained(trained, amp=args.amp, trust=True)
            for variant, built in walk_variants(model, ours.fast):
                if chosen.ways and variant not in chosen.ways:
                    continue
                if args.no_refiner and variant != "coarse" and not variant.startswith("no refiner"):
                    continue
                if ours.one_network and args.seed and (variant == "coarse" or not len(built.refiners)):
                    continue  # the network is that of seed 0
                rows.add(ours.name, variant, split, images, chosen, walker(built))
        for rival in chosen.rivals:
            config = parse_config([*common, *start, "--name", stem(rival.name), *rival.arguments()])
            alone = by_itself(config, images.num_classes, folder / stem(rival.name), rival.input_size, args.amp)
            for way, predict in rival_walks(alone, config, chosen):
                if split == "val" or way in best_of_kinds(rows.content, rival.name):
                    rows.add(rival.name, way, split, images, chosen, predict)


def by_itself(config: TrainConfig, num_classes: int, network: Path, size: Size, amp: str = "bf16") -> magnet.MagNet:
    """The network that was trained in a folder, as a model of one scale."""
    segmenter = trained_segmenter(config, num_classes, network)
    return magnet.MagNet(segmenter, None, scales=[size], patch_size=size, n_points=1.0, amp=amp).eval()


def unrefined(config: TrainConfig, images: Dataset, network: Path, amp: str) -> magnet.MagNet:
    """A MagNet of a configuration on the network that was trained in a folder, without refiners."""
    segmenter = trained_segmenter(config, images.num_classes, network)
    settings = config.walk.settings(n_patches=None, amp=amp)
    return magnet.MagNet(segmenter, None, class_names=images.class_names, **asdict(settings)).eval()


def trained_segmenter(config: TrainConfig, num_classes: int, network: Path) -> torch.nn.Module:
    return load_segmenter(config, num_classes, network / "segmenter" / "best.safetensors", torch.device("cpu"))


def started_from(network: Path) -> list[str]:
    """Arguments of ``magnet train`` for the network that was trained in a folder: of a factory its weights."""
    if not (network / "config.json").is_file():
        raise SystemExit(f"--only: the network of '{network.name}' is taken as it is; train it first, with this seed")
    settings = json.loads((network / "config.json").read_text(encoding="utf-8"))
    if settings["segmenter"]["factory"]:
        return ["--segmenter.weights", str(network / "segmenter" / "best.safetensors")]
    config = parse_config(["--config", str(network / "config.json")])
    model = network / "model"
    if not model.is_dir():
        data = open_split(config.data, "train")[0]
        by_itself(config, data.num_classes, network, config.input_size).save_pretrained(model)
    return ["--segmenter.init", str(model)]


def rival_walks(alone: magnet.MagNet, config: TrainConfig, chosen: ProofSet) -> Iterator[tuple[str, Predict]]:
    """Name and function of each way of a rival; with colours matched, too, where MagNet has that."""
    if config.walk.match_colours:
        images = open_split(config.data, "train")[0]
        statistics = channel_statistics(images.load(index)[0] for index in range(len(images)))
        alone = alone.with_settings(colour_statistics=statistics, match_colours=True)
    for way, matched in product(rival_ways(config.input_size, chosen.sizes), sorted({False, alone.match_colours})):

        def predict(image: np.ndarray, way: Way = way, matched: bool = matched) -> Tensor:
            pixels = to_tensor(image)[None]
            return segment_by(way, alone.segment, alone.matched(pixels) if matched else pixels, image.shape[:2])

        yield f"{way.name}, colours matched" if matched else way.name, predict


def only(chosen: ProofSet, names: Sequence[str]) -> ProofSet:
    """Of the networks those of these names; no names: all."""
    known = [network.name for network in (*chosen.ours, *chosen.rivals)]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--only: expected some of {known}, got {unknown[0]!r}")
    if not names:
        return chosen
    ours = tuple(network for network in chosen.ours if network.name in names)
    return replace(chosen, ours=ours, rivals=tuple(network for network in chosen.rivals if network.name in names))


def stem(name: str) -> str:
    """A name as a folder's."""
    return name.lower().replace(", ", "_").replace(" ", "_")


def train(arguments: list[str], folder: Path, stages: Sequence[list[str]] = ([],)) -> float:
    """Train in processes of their own, unless it was done; returns the seconds of the processor that it took.

    Args:
        arguments: of ``magnet train``.
        folder: of the run.
        stages: further arguments, for one process each.
    """
    kept = folder / "seconds.json"
    if not kept.is_file():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for stage in stages:
            command = [sys.executable, "-m", "magnet", "train", *arguments, *stage, "--overwrite", "true"]
            subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        kept.write_text(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return float(json.loads(kept.read_text()))


def walker(model: magnet.MagNet) -> Predict:
    def predict(image: np.ndarray) -> Tensor:
        n_patches = model.n_patches
        steps = walk(model, image, "magnet" if n_patches is None else "fast", 0 if n_patches is None else n_patches)
        for _ in steps:
            pass
        return steps.prediction.labels

    return predict


class Rows:
    """The rows of the file, one a network, way, split and seed.

    Attributes:
        content: of the file.
    """

    def __init__(self, path: Path, name: str, seed: int, amp: str, took: dict[str, float]) -> None:
        self._path, self._seed, self._amp, self._took = path, seed, amp, took
        self.content: dict[str, Any] = {"set": name, "rows": []}
        if path.is_file():
            self.content = json.loads(path.read_text(encoding="utf-8"))
        self._done = {(r["network"], r["way"], r["split"], r["seed"]) for r in self.content["rows"]}

    def add(self, network: str, way: str, split: str, images: Dataset, chosen: ProofSet, predict: Predict) -> None:
        """Measure one row, unless the file has it."""
        if (network, way, split, self._seed) in self._done:
            return
        device = torch.device("cpu")
        scorer, seconds, peak = Scorer(images.num_classes, 0.02, device), [], 0.0
        total = torch.zeros(scorer.length, dtype=torch.int64)
        for index in _indices(images, split, chosen):
            image, labels = images.load(index)
            scorer.set_target(labels)
            reset_peak_memory(device)
            start = time.process_time()
            found = predict(image)
            seconds.append(time.process_time() - start)
            peak = max(peak, peak_memory(device))
            total += scorer.count(found.to(torch.uint8))
        figured = figures(total, images.class_names, boundary=True)
        row = {
            "network": network,
            "way": way,
            "split": split,
            "seed": self._seed,
            **({"amp": self._amp} if self._amp != "bf16" else {}),
            "images": len(seconds),
            **{name: figured[name] for name in KEPT},
            "seconds_median": round(statistics.median(seconds[1:] or seconds), 4),
            "peak_memory_mib": round(peak, 1),
            "training_seconds": round(self._took[network]),
        }
        self.content["rows"].append(row)
        self._path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        print(split, network, way, row["mean_iou"], row["boundary_iou"], row["seconds_median"], flush=True)


def _indices(images: Dataset, split: str, chosen: ProofSet) -> Iterator[int]:
    return iter(range(0, len(images), chosen.every if split == "test" else 1))


if __name__ == "__main__":
    main()
