"""All of MagNet on the GPU: the same labels as on the CPU, and seconds an image on each backend of the operators.

    PYTHONPATH=.:benchmarks python -m gpu.whole --out FOLDER     # whole.json

The shipped model of the generated scenes, whose labels are exact; and the network, scales and points of Cityscapes with
random weights, which take as long as trained ones. Backend "reference" is the same walk with plain torch in place of
the kernels. Exit code 1 where labels differ or fail to be made.

Needs no pydantic and no yaml, which a machine for kernels may lack.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from targets import N_POINTS

import magnet
from gpu.measure import live_backends
from magnet.data.scenes.classes import SCENE_CLASSES
from magnet.data.scenes.generate import generate_scene
from magnet.devices import to_device
from magnet.evaluation.metrics import confusion_matrix, mean_iou
from magnet_kernels import _backends

SCALES = [(128, 256), (256, 512), (512, 1024), (1024, 2048)]
REFERENCE = "reference"
LEAST_ALIKE = 0.99  # of the pixels: convolutions round differently on each device (TF32), and the walk passes it on


class Line(NamedTuple):
    """One model on one backend."""

    model: str
    backend: str
    device: str
    seconds: float  # median
    peak_mib: float  # 0 on a CPU
    alike: float  # share of the pixels labelled as in the first line of this model; nan for that line, 0: failed
    mean_iou: float  # nan where there are no labels to hold it against


def scenes(size: tuple[int, int], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [generate_scene(size, 9000 + seed) for seed in range(count)]


def predicted(model: magnet.MagNet, images: Sequence[np.ndarray], backend: str, **changes: Any) -> list[torch.Tensor]:
    with mock.patch.object(_backends, "_FORCED", backend):
        return [model.predict(image, probabilities=False, **changes).labels.cpu() for image in images]


def timed(model: magnet.MagNet, image: np.ndarray, backend: str, rounds: int, **changes: Any) -> tuple[float, float]:
    """On a GPU: median seconds of a call, from an image in memory to labels on the host; and MiB taken at the most."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        predicted(model, [image], backend, **changes)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**20


def lines_of(
    name: str,
    models: Sequence[tuple[magnet.MagNet, str, str]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray | None]],
    rounds: int,
    **changes: Any,
) -> list[Line]:
    """``models``: (model, device, backend); the first one's labels are what the others' are held against."""
    lines: list[Line] = []
    first: list[torch.Tensor] = []
    for model, device, backend in models:
        try:
            start = time.perf_counter()
            labels = predicted(model, [image for image, _ in pairs], backend, **changes)
            seconds, peak = (time.perf_counter() - start) / len(pairs), 0.0
            if device == "cuda":  # a CPU takes long, and needs no first call
                seconds, peak = timed(model, pairs[0][0], backend, rounds, **changes)
            alike, score = likeness(labels, first), quality(labels, pairs)
        except Exception as error:
            words = (str(error).splitlines() or [""])[0]
            print(f"{name}, {backend} on {device}: FAILED: {type(error).__name__}: {words}", flush=True)
            lines.append(Line(name, backend, device, float("nan"), 0.0, 0.0, float("nan")))
            continue
        first = first or labels
        lines.append(Line(name, backend, device, seconds, peak, alike, score))
        print(text_of(lines[-1]), flush=True)
    return lines


def likeness(labels: Sequence[torch.Tensor], first: Sequence[torch.Tensor]) -> float:
    """Share of the pixels whose labels are those of the first line; nan where this is the first."""
    if not first:
        return float("nan")
    return statistics.fmean(float((a == b).double().mean()) for a, b in zip(labels, first, strict=True))


def quality(labels: Sequence[torch.Tensor], pairs: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> float:
    if any(right is None for _, right in pairs):
        return float("nan")
    confusion = (
        confusion_matrix(found, torch.from_numpy(right), len(SCENE_CLASSES))
        for found, (_, right) in zip(labels, pairs, strict=True)
    )
    return 100 * mean_iou(sum(confusion))


def text_of(line: Line) -> str:
    words = f"{line.model}, {line.backend} on {line.device}: {1e3 * line.seconds:.1f} ms"
    words += f", {line.peak_mib:.0f} MiB" if line.peak_mib else ""
    words += f", {100 * line.alike:.3f}% as the first" if line.alike == line.alike else ""
    return words + (f", mIoU {line.mean_iou:.2f}" if line.mean_iou == line.mean_iou else "")


def cityscapes(device: torch.device, amp: str, scales: Sequence[tuple[int, int]], n_points: int) -> magnet.MagNet:
    torch.manual_seed(0)
    return to_device(
        magnet.MagNet(
            magnet.build_segmenter("hrnet18+ocr", 19),
            magnet.RefinementModule(19),
            scales=scales,
            patch_size=scales[0],
            input_size=scales[0],
            n_points=n_points,
            kernel_size=5,
            amp=amp,
        ),
        device,
    )


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu.whole", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of whole.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the program out")
    parser.add_argument("--divide", type=int, default=1, help="sizes are divided by it to try the program out")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    size = (1024 // chosen.divide, 2048 // chosen.divide)
    torch.set_num_threads(min(8, os.cpu_count() or 1))
    backends = [*live_backends("refine_stage", device.type), REFERENCE]
    if device.type == "cuda" and len(backends) == 1:
        print("no compiled backend is live here")
        return 1
    pairs: list[tuple[np.ndarray, np.ndarray | None]] = list(scenes(size, 2))
    shipped = magnet.MagNet.from_pretrained("scenes")
    models = [(shipped, "cpu", "cpu")]
    on_device = to_device(magnet.MagNet.from_pretrained("scenes"), device)
    models += [(on_device, device.type, backend) for backend in backends]
    lines = lines_of("scenes", models, pairs, chosen.rounds)
    scales = [(h // chosen.divide, w // chosen.divide) for h, w in SCALES]
    for amp in ("none", "bf16"):
        model = cityscapes(device, amp, scales, N_POINTS // chosen.divide**2)
        for words, changes in (("", {}), (" fast", {"n_patches": 4})):
            each = [(model, device.type, backend) for backend in backends]
            unlabelled = [(image, None) for image, _ in pairs[:1]]
            lines += lines_of(f"hrnet18+ocr{words} {amp}", each, unlabelled, chosen.rounds, **changes)
    if chosen.out is not None:
        (chosen.out / "whole.json").write_text(json.dumps([line._asdict() for line in lines], indent=1) + "\n")
    wrong = [line for line in lines if line.alike < LEAST_ALIKE]
    short = "; ".join(
        f"{name} " + " ".join(f"{1e3 * line.seconds:.0f}" for line in lines if line.model == name)
        for name in dict.fromkeys(line.model for line in lines)
    )
    print(f"{len(wrong)} wrong; ms, backends {' '.join(backends)}: {short}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
