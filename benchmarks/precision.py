"""float32 against bfloat16 on this CPU: a segmenter's answer, and a step of its training, of the library's models.

python benchmarks/precision.py --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from processor import cpu_name

import magnet
from magnet.cli.config import parse_config
from magnet.devices import autocast, computes_bf16

MODELS = ("scenes", "hrf")
CPU = torch.device("cpu")


def median_seconds(run: Callable[[], object], runs: int) -> float:
    """Of all runs but the first."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds[1:]), 3)


def measure(name: str, amp: str, runs: int) -> dict[str, object]:
    model = magnet.MagNet.from_pretrained(name)
    network = model.segmenter.to(memory_format=torch.channels_last)
    batch = parse_config(["--config", name]).segmenter.batch_size
    images = torch.randn(batch, 3, *model.patch_size, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, *model.patch_size, dtype=torch.int64)

    @torch.inference_mode()
    def answer() -> None:
        with autocast(CPU, amp):
            network(images)

    def step() -> None:
        network.zero_grad()
        with autocast(CPU, amp):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()

    network.eval()
    answered = median_seconds(answer, runs)
    network.train()
    return {
        "model": name,
        "batch": list(images.shape),
        "amp": amp,
        "answer_seconds_median": answered,
        "step_seconds_median": median_seconds(step, runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    rows = [measure(name, amp, args.runs) for name in MODELS for amp in ("none", "bf16")]
    content = {
        "processor": cpu_name(),
        "computes_bf16": computes_bf16(CPU),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rows": rows,
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
