"""``magnet eval``: what refinement gains over the coarse prediction and over a sliding window, and what it costs."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from magnet import distributed
from magnet.bounds import AMP, MAX_COUNT
from magnet.cli import arguments
from magnet.cli.arguments import Parser
from magnet.cli.data_options import add_model_and_data, amp_of, model_of, open_data, parse_given
from magnet.data import Dataset, colours_of
from magnet.data.counting import check_scored_labels
from magnet.devices import keep_memory_on, pick_amp, pick_device, to_device
from magnet.errors import ArgumentError
from magnet.evaluation import ALL_MODES, MODES, evaluate, run_evaluation
from magnet.evaluation.report import EXTREMES, ReportFolder, content_of, table, to_json, write_folder
from magnet.evaluation.seen import seen_by
from magnet.files.atomic import atomic_path, check_output_dir, no_empty_folders
from magnet.files.outputs import OVERWRITE_HELP, check_json_target
from magnet.images.draw import default_colours
from magnet.images.read import IMAGE_SUFFIXES
from magnet.model.magnet import MagNet
from magnet.model.pretrained import CONFIG, WEIGHTS
from magnet.training.config import TrainConfig
from magnet.walk.settings import SHOWN, check_n_patches

__all__ = ["MODES", "add_eval_arguments", "build_eval_parser", "evaluate", "main"]


def build_eval_parser(prog: str = "magnet eval") -> Parser:
    """The parser of ``magnet eval``."""
    parser = Parser(
        prog=prog,
        description="Accuracy, time and memory of a model: coarse, sliding window, MagNet and MagNet-Fast side by "
        "side, and after every scale. Under torchrun the images are shared out.",
    )
    add_eval_arguments(parser)
    return parser


def add_eval_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``magnet eval`` to a parser."""
    add = parser.add_argument
    add_model_and_data(parser)
    add("--split", default="test", help="test (default), val or train")
    add(
        "--modes",
        type=_modes,
        default=list(MODES),
        help=f"comma-separated, of {', '.join(ALL_MODES)}; the last, which is left out unless asked for, is one pass "
        "over the whole image as large as the last scale sees it",
    )
    add(
        "--n-patches",
        type=arguments.n_patches,
        help="patches of MagNet-Fast: one number, or one for each later scale, as 4,12,16",
    )
    add("--n-points", type=arguments.n_points, help="pixels replaced at each scale: a count, or a fraction like 0.5")
    add("--kernel-size", type=arguments.kernel_size, help="median filter of the score")
    arguments.add_walk_options(parser)
    add(
        "--boundary-width",
        type=_boundary_width,
        default=0.02,
        help="of the boundary IoU: pixels, or a fraction of the image diagonal (default 0.02); 0 leaves it out",
    )
    add("--limit", type=arguments.count_between(1, MAX_COUNT), default=0, help="this many images only, the first ones")
    add("--amp", choices=AMP, help=f"{arguments.AMP_HELP} (default: as in the config, or none)")
    add("--device", type=arguments.device_name, default="auto")
    add(
        "--out",
        help="a folder for metrics.json, report.md, report.html, confusion.png and pictures of the images where "
        "refinement gained and lost most; or a file FILE.json, which is metrics.json alone",
    )
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)


def _modes(text: str) -> list[str]:
    modes = [mode.strip() for mode in text.split(",")]
    if set(modes) - set(ALL_MODES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(ALL_MODES)}, got '{text}'")
    return list(dict.fromkeys(modes))


def _boundary_width(text: str) -> float:
    try:
        value: float = int(text) if text.isdigit() else float(text)
    except ValueError:
        value = -1.0
    if not (isinstance(value, int) or 0 <= value < 1):
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or a fraction in (0, 1) as 0.02, got '{text}'")
    return value


def main(argv: Sequence[str]) -> int:
    """``magnet eval``: returns 0, or raises MagNetError, or exits with 2 on wrong arguments."""
    parser = build_eval_parser()
    args, rest, config = parse_given(parser, argv)
    with distributed.session(args.device), no_empty_folders(args.out if distributed.is_main() else None):
        return _run(args, rest, config, parser.prog)


def _run(args: argparse.Namespace, rest: list[str], config: TrainConfig | None, prog: str) -> int:
    amp, n_patches = pick_amp(pick_device(args.device), args.amp or amp_of(config)), args.n_patches
    if config:
        n_patches = config.walk.n_patches if n_patches is None else n_patches
    name = args.model or model_of(config)
    # what an evaluation is of: another one is not replaced by it
    subject = {"model": name, "data": _place(args.data, config), "split": args.split}
    out = Path(args.out) if args.out else None
    # a path without .json, or a folder that is there, is a folder
    to_file = out is not None and out.suffix.lower() == ".json" and not out.is_dir()
    if out is not None and distributed.is_main():  # before the data are opened
        check_output_dir(out.parent if to_file else out)
    dataset, files = open_data(args.data, args.split, rest, prog, config)
    inputs = [*files, *_files_of_model(name), *([Path(args.config)] if args.config else [])]
    with contextlib.ExitStack() as stack:
        file, folder = None, None
        if out is not None and to_file:
            file, same = out, _is_of(subject)
            check_json_target(file, "--out", same, what="an evaluation", overwrite=args.overwrite, inputs=inputs)
        elif out is not None and distributed.is_main():
            _check_folder(out, files)
            folder = stack.enter_context(ReportFolder(out, subject, overwrite=args.overwrite, inputs=inputs))
        return _evaluate(args, dataset, amp, n_patches, subject, file, folder)


def _files_of_model(name: str) -> list[Path]:
    return [Path(name) / file for file in (CONFIG, WEIGHTS)] if Path(name).is_dir() else []


def _check_folder(out: Path, files: Iterable[Path]) -> None:
    """Refuse a report among the images or the labels, where its pictures would be taken for some."""
    if out.is_dir() and out.resolve() in {
        path.resolve().parent for path in files if path.suffix.lower() in IMAGE_SUFFIXES
    }:
        raise ArgumentError(f"--out: '{out}' is a folder of the data; choose another folder")


def _is_of(subject: dict[str, Any]) -> Callable[[Any], bool]:
    """Whether the content of a metrics.json is of the same model and data."""
    return lambda content: "results" in content and all(content[key] == value for key, value in subject.items())


def _evaluate(
    args: argparse.Namespace,
    dataset: Dataset,
    amp: str,
    n_patches: int | Sequence[int | None] | None,
    subject: dict[str, Any],
    file: Path | None,
    folder: ReportFolder | None,
) -> int:
    """Evaluate, and write to ``file`` or ``folder``; the exit code."""
    check_scored_labels(dataset, args.limit)
    changes = {"n_points": args.n_points, "kernel_size": args.kernel_size, **arguments.walk_options(args)}
    changes = {name: value for name, value in changes.items() if value is not None}
    with arguments.wrong_values():
        model = MagNet.from_pretrained(subject["model"], trust=args.trust, amp=amp, **changes)
        check_n_patches(n_patches, len(model.scales))
    keep_memory_on(to_device(model, pick_device(args.device)).device)
    dataset = seen_by(model, dataset)  # pictures show what was evaluated
    if n_patches is None:  # 0 is a number of patches
        n_patches = 4 if model.n_patches is None else model.n_patches
    evaluation = run_evaluation(
        model,
        dataset,
        modes=args.modes,
        n_patches=n_patches,
        limit=args.limit,
        report=tqdm.write,
        boundary_width=args.boundary_width,
        # every process keeps its own, of which the main one draws some
        extremes=EXTREMES if args.out and not file else 0,
    )
    print(table(evaluation.results))
    if args.out and distributed.is_main():
        settings: dict[str, Any] = {
            **subject,
            "images": len(evaluation.images),
            "amp": amp,
            "device": str(model.device),
            "processes": distributed.world_size(),
            **{name: getattr(model.settings, name) for name in SHOWN},
            "n_patches": n_patches,
            "boundary_width": args.boundary_width,
        }
        content = content_of(evaluation, settings)
        if file:
            with atomic_path(file) as temporary:
                temporary.write_text(to_json(content), encoding="utf-8")
        else:
            assert folder is not None
            colours = model.colours or colours_of(dataset) or default_colours(dataset.num_classes)
            write_folder(folder, evaluation, content, dataset, colours)
        print(f"written: {args.out}")
    return 0


def _place(data: str | None, config: TrainConfig | None) -> Any:
    """Where the images come from, for the record."""
    if data:
        return data
    assert config is not None
    return config.data.folders or config.data.root or "generated"
