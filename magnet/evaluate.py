"""``magnet eval``: what refinement gains over the coarse prediction and over a sliding window, and what it costs."""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from magnet import arguments
from magnet.arguments import Parser
from magnet.data import DataFolder, Dataset
from magnet.errors import MagNetError
from magnet.files import atomic_path, check_output_dir
from magnet.images import normalize, resize, to_tensor
from magnet.metrics import confusion_matrix, frequency_weighted_iou, iou_per_class, mean_iou
from magnet.sliding import sliding_window
from magnet.training.loop import pick_device, to_device
from magnet.walk import labels_at

if TYPE_CHECKING:
    from magnet.model import MagNet

__all__ = ["MODES", "evaluate", "main"]

MODES = ("coarse", "sliding", "magnet", "fast")


class _PeakMemory:
    """Highest memory of the process since ``reset``: resident on the CPU (Linux), allocated on a GPU. MiB."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        with contextlib.suppress(OSError):  # the figure is then the peak of the whole run
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        except OSError:
            pass
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def _predict(
    model: MagNet, image: np.ndarray, size: tuple[int, int], mode: str, n_patches: int | Sequence[int | None]
) -> Tensor:
    """Labels (H, W) of one image at ``size``."""
    input_size = model.input_size
    if mode in ("coarse", "sliding"):
        pixels = to_tensor(image)[None].to(model.device)
        if mode == "coarse":
            probabilities = model.segment(normalize(resize(pixels, input_size)))
        else:
            (h, w), (ph, pw) = model.scales[-1], model.patch_size
            # the density of pixels at which the network sees patches of the last scale
            seen = (round(h * input_size[0] / ph), round(w * input_size[1] / pw))
            probabilities = sliding_window(model.segment, resize(pixels, seen), input_size)
        return labels_at(probabilities[0], size).cpu()
    model.n_patches = None if mode == "magnet" else n_patches
    return torch.as_tensor(model.predict(image, probabilities=False).labels).cpu()


@torch.inference_mode()
def evaluate(
    model: MagNet,
    dataset: Dataset,
    *,
    modes: Sequence[str] = MODES,
    n_patches: int | Sequence[int | None] = 4,
    limit: int = 0,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score a MagNet on labelled images, each mode in turn on each image.

    Args:
        model: a ``magnet.MagNet``.
        dataset: labelled images.
        modes: of "coarse" (the first scale alone), "sliding" (the same network on patches of the last scale, without
            refinement), "magnet" (every patch of every scale) and "fast" (``n_patches`` a scale).
        n_patches: patches of MagNet-Fast: one number, or one for each later scale.
        limit: number of images; 0 = all.
        report: called with a line of text after each image.

    Returns:
        For each mode: class-mean and frequency-weighted IoU and IoU of each class (percent; None where a class is
        absent), mean and median seconds an image, peak memory in MiB.

    Raises:
        MagNetError: the data have other classes than the model, or a bad image.
    """
    unknown = [m for m in modes if m not in MODES]
    if unknown or not modes:
        raise MagNetError(f"modes: expected some of {', '.join(MODES)}, got {', '.join(unknown) or 'none'}")
    num_classes = dataset.num_classes
    own = model.num_classes
    if own is not None and own != num_classes:
        raise MagNetError(
            f"data: has {num_classes} classes ({', '.join(dataset.class_names)}), but the model {own}; "
            "evaluate on data with the model's classes"
        )
    memory = _PeakMemory(model.device)
    confusion = {m: torch.zeros(num_classes, num_classes, dtype=torch.int64) for m in modes}
    seconds: dict[str, list[float]] = {m: [] for m in modes}
    peak: dict[str, float] = dict.fromkeys(modes, 0.0)
    before, bar = model.n_patches, model.progress
    model.progress = False
    count = min(limit, len(dataset)) if limit else len(dataset)
    try:
        for index in tqdm(range(count), desc="evaluating", disable=None):
            image, labels = dataset.load(index)
            target = torch.from_numpy(labels)
            line = []
            for mode in modes:
                memory.reset()
                start = time.perf_counter()
                predicted = _predict(model, image, (labels.shape[0], labels.shape[1]), mode, n_patches)
                seconds[mode].append(time.perf_counter() - start)
                peak[mode] = max(peak[mode], memory.read())
                matrix = confusion_matrix(predicted, target, num_classes)
                confusion[mode] += matrix
                line.append(f"{mode} {mean_iou(matrix) * 100:.2f} ({seconds[mode][-1]:.1f} s)")
            if report:
                report(f"{dataset.name(index)}: {', '.join(line)}")
    finally:
        model.n_patches, model.progress = before, bar
    return {
        mode: {
            "mean_iou": round(mean_iou(confusion[mode]) * 100, 3),
            "frequency_weighted_iou": round(frequency_weighted_iou(confusion[mode]) * 100, 3),
            "iou": {
                name: None if value != value else round(value * 100, 3)
                for name, value in zip(dataset.class_names, iou_per_class(confusion[mode]).tolist(), strict=True)
            },
            "seconds_mean": round(statistics.mean(seconds[mode]), 3),
            "seconds_median": round(statistics.median(seconds[mode]), 3),
            "peak_memory_mib": round(peak[mode], 1),
        }
        for mode in modes
    }


def table(result: dict[str, Any]) -> str:
    """The figures of ``evaluate`` as text."""
    rows = [f"{'':10}{'mean IoU':>10}{'fw IoU':>9}{'s/image':>9}{'MiB':>8}"]
    for mode, r in result.items():
        rows.append(
            f"{mode:10}{r['mean_iou']:10.2f}{r['frequency_weighted_iou']:9.2f}{r['seconds_median']:9.2f}"
            f"{r['peak_memory_mib']:8.0f}"
        )
    names = list(next(iter(result.values()))["iou"])
    width = max(9, *(len(n) for n in names)) + 1
    rows += ["", " " * width + "".join(f"{m:>9}" for m in result)]
    for name in names:
        values = (result[m]["iou"][name] for m in result)
        rows.append(f"{name:{width}}" + "".join(f"{'-' if v is None else format(v, '.2f'):>9}" for v in values))
    return "\n".join(rows)


def build_eval_parser(prog: str = "magnet eval") -> argparse.ArgumentParser:
    """The parser of ``magnet eval``."""
    parser = Parser(prog=prog, description="Coarse and refined mIoU, time and memory of a model.")
    add_eval_arguments(parser)
    return parser


def add_eval_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``magnet eval`` to a parser."""
    add = parser.add_argument
    add(
        "--config",
        help="a training YAML or the name of a recipe: gives the data, and the model unless --model is given; "
        "its keys can be set too, as --data.root DIR",
    )
    add("--model", help="folder of a model, or the name of a bundled one")
    add("--data", help="a data folder: images/, labels/, classes.txt and a list for each split")
    add("--split", default="test", help="test (default), val or train")
    add("--modes", type=_modes, default=list(MODES), help=f"comma-separated, of {', '.join(MODES)}")
    add(
        "--n-patches",
        type=arguments.n_patches,
        help="patches of MagNet-Fast: one number, or one for each later scale, as 4,12,16",
    )
    add("--n-points", type=arguments.n_points, help="pixels replaced at each scale: a count, or a fraction like 0.5")
    add("--kernel-size", type=arguments.kernel_size, help="median filter of the score")
    add("--limit", type=arguments.count, default=0, help="first images only")
    add("--amp", choices=("none", "bf16"), help="bf16: convolutions in bfloat16 (default: as in the config, or none)")
    add("--device", default="auto")
    add("--out", help="JSON file to write")


def _modes(text: str) -> list[str]:
    modes = [mode.strip() for mode in text.split(",") if mode.strip()]
    if not modes or set(modes) - set(MODES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(MODES)}, got '{text}'")
    return list(dict.fromkeys(modes))


def main(argv: Sequence[str]) -> int:
    """``magnet eval``: returns 0, or raises MagNetError, or exits with 2 on wrong arguments."""
    parser = build_eval_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not args.config:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if not args.config and not (args.model and args.data):
        parser.error("expected --config FILE, or --model DIR and --data DIR")
    out = Path(args.out) if args.out else None
    if out:
        check_output_dir(out.parent, "--out")
        if out.is_dir():
            raise MagNetError(f"--out: expected a JSON file to write, but '{out}' is a folder; add a file name")
    config, amp, n_patches = None, args.amp or "none", args.n_patches
    if args.config:
        from magnet.train import build_train_parser, open_split, parse_config

        config = parse_config(["--config", args.config, *rest], build_train_parser(parser.prog))
        amp = args.amp or config.amp
        n_patches = n_patches or config.walk.n_patches
    if args.data:
        dataset: Dataset = DataFolder(args.data, args.split)
    else:
        assert config is not None
        dataset = open_split(config.data, args.split)[0]
    from magnet.model import MagNet

    name = args.model
    if not name:
        assert config is not None
        trained = Path(config.out) / config.name / "model"
        name = str(trained) if trained.is_dir() else config.name  # a shipped one of that name
    model = MagNet.from_pretrained(name, amp=amp)
    to_device(model, pick_device(args.device))
    if args.n_points is not None:
        model.n_points = args.n_points
    if args.kernel_size is not None:
        model.kernel_size = args.kernel_size
    n_patches = n_patches or model.n_patches or 4
    result = evaluate(
        model,
        dataset,
        modes=args.modes,
        n_patches=n_patches,
        limit=args.limit,
        report=tqdm.write,
    )
    print(table(result))
    if out:
        content = {
            "model": name,
            "data": args.data or (config.data.folders if config and config.data.folders else "generated"),
            "split": args.split,
            "images": min(args.limit, len(dataset)) if args.limit else len(dataset),
            "amp": amp,
            "threads": torch.get_num_threads(),
            "device": str(model.device),
            "scales": [list(s) for s in model.scales],
            "n_points": model.n_points,
            "n_patches": n_patches,
            "kernel_size": model.kernel_size,
            "results": result,
        }
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"written: {out}")
    return 0
