"""Plots (matplotlib) of figures that run.py wrote: python benchmarks/ablations/plot.py --out FILE.png FILE.json..."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter


def _rows(content: dict[str, Any], group: str) -> list[dict[str, Any]]:
    return [row for row in content["rows"] if row["group"] == group]


def draw(contents: list[dict[str, Any]], out: str) -> None:
    figure, grid = plt.subplots(len(contents), 3, figsize=(13, 3.8 * len(contents)), squeeze=False)
    for (left, middle, right), content in zip(grid, contents, strict=True):
        name = content["data"]
        for row in (*_rows(content, "ways"), *_rows(content, "patches")):
            if row["seconds_median"] is None:
                continue
            own = row["group"] == "ways"
            left.plot(row["seconds_median"], row["mean_iou"], "o" if own else ".", color="C0" if own else "C1")
            if own:
                left.annotate(
                    row["name"],
                    (row["seconds_median"], row["mean_iou"]),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        left.set(title=f"{name}: quality and time", xlabel="seconds an image", ylabel="mean IoU", xscale="log")
        left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        left.xaxis.set_minor_formatter(NullFormatter())
        points = _rows(content, "points")
        middle.plot([float(row["name"]) for row in points], [row["mean_iou"] for row in points], "o-")
        coarse = next((row["mean_iou"] for row in _rows(content, "ways") if row["name"] == "upsampled coarse"), None)
        if coarse is not None:
            middle.axhline(coarse, color="grey", linestyle=":", label="upsampled coarse")
            middle.legend(fontsize=8)
        middle.set(title=f"{name}: points replaced", xlabel="fraction of the pixels")
        choice = _rows(content, "choice")
        right.barh([row["name"] for row in choice][::-1], [row["mean_iou"] for row in choice][::-1])
        scores = [row["mean_iou"] for row in choice] or [0, 1]
        right.set(title=f"{name}: choice of points", xlabel="mean IoU", xlim=(min(scores) - 1, max(scores) + 0.5))
    figure.tight_layout()
    figure.savefig(out, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    draw([json.loads(Path(name).read_text(encoding="utf-8")) for name in args.files], args.out)


if __name__ == "__main__":
    main()
