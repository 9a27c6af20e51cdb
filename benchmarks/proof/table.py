"""Markdown table of the figures that run.py wrote: python benchmarks/proof/table.py FILE.json

Of each rival the way that its validation images like best, over all seeds; where that takes longer than MagNet, the
best of those that do not, too.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ways import kind_of

Row = dict[str, Any]
Key = tuple[str, str]  # network, way

__all__ = ["Mean", "best_of_kinds", "best_ways", "mean_rows", "table"]


class Mean:
    """The rows of one network and way over the seeds.

    Attributes:
        network, way: what they are of.
        seeds: how many.
        iou, boundary: means over them, in percent.
        spread: standard deviation of the mean IoU; 0 of one seed.
        seconds, memory, training: medians, of the seeds in the precision of the first; seconds of the processor an
            image, MiB, seconds of the processor.
    """

    def __init__(self, key: Key, rows: Sequence[Row]) -> None:
        self.network, self.way = key
        self.seeds = len(rows)
        values = [row["mean_iou"] for row in rows]
        self.iou = statistics.mean(values)
        self.spread = statistics.stdev(values) if len(values) > 1 else 0.0
        self.boundary = statistics.mean(row["boundary_iou"] for row in rows)
        timed = [row for row in rows if row.get("amp") == rows[0].get("amp")]  # float32 takes other times than bf16
        self.seconds = statistics.median(row["seconds_median"] for row in timed)
        self.memory = statistics.median(row["peak_memory_mib"] for row in timed)
        self.training = statistics.median(row["training_seconds"] for row in timed)


def mean_rows(content: dict[str, Any], split: str) -> dict[Key, Mean]:
    """The rows of a split, seeds together."""
    grouped: dict[Key, list[Row]] = {}
    for row in content["rows"]:
        if row["split"] == split:
            grouped.setdefault((row["network"], row["way"]), []).append(row)
    return {key: Mean(key, rows) for key, rows in grouped.items()}


def best_ways(validated: dict[Key, Mean], most_seconds: float = float("inf")) -> list[Key]:
    """Of each rival the way that is best on validation images, of those that take at most ``most_seconds``."""
    best: dict[str, Mean] = {}
    for mean in validated.values():
        if mean.network.startswith("MagNet") or mean.seconds > most_seconds:
            continue
        if mean.network not in best or mean.iou > best[mean.network].iou:
            best[mean.network] = mean
    return [(mean.network, mean.way) for mean in best.values()]


def best_of_kinds(content: dict[str, Any], network: str) -> set[str]:
    """The ways of a rival that are best on validation images, over the seeds there are, one of each kind: the size that
    it likes best for a whole image, for a sliding window, and so on."""
    best: dict[str, Mean] = {}
    for mean in mean_rows(content, "val").values():
        kind = kind_of(mean.way)
        if mean.network == network and (kind not in best or mean.iou > best[kind].iou):
            best[kind] = mean
    return {mean.way for mean in best.values()}


def table(content: dict[str, Any]) -> str:
    """All of MagNet's rows, and each rival's best, with as much time as it likes and with no more than MagNet takes."""
    validated, tested = mean_rows(content, "val"), mean_rows(content, "test")
    own = [key for key in tested if key[0].startswith("MagNet")]
    lines = [
        "| Network | way | mean IoU | boundary IoU | seconds | peak MiB | training, CPU minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    slowest = max(tested[key].seconds for key in own if key[1] == "MagNet")
    for key in dict.fromkeys([*own, *best_ways(validated), *best_ways(validated, slowest)]):
        mean = tested[key]
        spread = f" ± {mean.spread:.2f}" if mean.seeds > 1 else ""
        lines.append(
            f"| {mean.network} | {mean.way} | {mean.iou:.2f}{spread} | {mean.boundary:.2f} | {mean.seconds:.2f} "
            f"| {mean.memory:.0f} | {mean.training / 60:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(table(json.loads(Path(name).read_text(encoding="utf-8"))))
