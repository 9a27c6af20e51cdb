"""Networks with batch normalisation folded into convolutions, and without, in turns on this CPU.

python benchmarks/folding.py --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from processor import cpu_name

import magnet
from magnet.networks import folding

MODELS = ("scenes", "hrf")
BATCH = 8
MOST = {"layer by layer": 0, "folded": folding._MOST_WEIGHTS}


@torch.inference_mode()
def measure(name: str, turns: int) -> dict[str, object]:
    model = magnet.MagNet.from_pretrained(name)
    network = model.segmenter.to(memory_format=torch.channels_last).eval()
    images = torch.randn(BATCH, 3, *model.patch_size).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {way: [] for way in MOST}
    for turn in range(turns + 1):
        for way in list(MOST)[:: 1 if turn % 2 else -1]:
            folding._MOST_WEIGHTS = MOST[way]
            start = time.perf_counter()
            network(images)
            if turn:
                seconds[way].append(time.perf_counter() - start)
    return {
        "model": name,
        "batch": list(images.shape),
        "seconds_median": {way: round(statistics.median(taken), 4) for way, taken in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=15)
    args = parser.parse_args()
    content = {
        "processor": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "amp": "none",
        "rows": [measure(name, args.turns) for name in MODELS],
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
