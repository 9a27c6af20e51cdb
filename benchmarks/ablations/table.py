"""Markdown tables of the figures that run.py wrote: python benchmarks/ablations/table.py FILE.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TITLES = {
    "ways": "Ways to segment with the same network",
    "scales": "Scales",
    "points": "Points replaced at each scale, as a fraction",
    "choice": "How points are chosen, and what fraction",
    "median": "Median filter of the score, a quarter of the pixels",
    "patches": "Patches looked at in each later scale",
}


def tables(content: dict[str, Any]) -> str:
    lines = []
    for group, title in TITLES.items():
        rows = [row for row in content["rows"] if row["group"] == group]
        if not rows:
            continue
        lines += [f"| {title} | mean IoU | seconds | peak MiB |", "|---|---|---|---|"]
        best = max(row["mean_iou"] for row in rows)
        for row in rows:
            score = f"{row['mean_iou']:.2f}"
            score = f"**{score}**" if row["mean_iou"] == best else score
            seconds = "-" if row["seconds_median"] is None else f"{row['seconds_median']:.2f}"
            lines.append(f"| {row['name']} | {score} | {seconds} | {row['peak_memory_mib']:.0f} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(tables(json.loads(Path(name).read_text(encoding="utf-8"))))
