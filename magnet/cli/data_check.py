"""``magnet data check``: what a data set holds, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from magnet.cli.arguments import Parser
from magnet.cli.config import build_train_parser, parse_config
from magnet.cli.data_options import data_config, files_of
from magnet.data.check import SplitReport, check_split, judge
from magnet.data.config import DataConfig
from magnet.data.labelled_files import LabelledFiles
from magnet.data.open import open_files
from magnet.data.overlap import shared_images
from magnet.data.sheet import label_sheet
from magnet.errors import ArgumentError, MagNetError
from magnet.files.atomic import atomic_path, check_output_dir, no_empty_folders, save_image
from magnet.files.outputs import OVERWRITE_HELP, check_json_target, check_targets

__all__ = ["SHEET_QUALITY", "check_folder", "main"]

_SPLITS = ("train", "val", "test")
SHEET_QUALITY = {"quality": 88, "subsampling": 0}
_SHOWN = 20  # messages of one kind; --json has all


def main(argv: Sequence[str]) -> int:
    """Returns 0 if all is well, 1 if something is wrong; raises MagNetError, or exits with 2 on wrong arguments."""
    args, rest = _parser().parse_known_args(argv)
    config = _config(args, rest)
    if config.generated.train > 0:
        raise MagNetError("data.generated: these scenes are made by the program; there are no files to check")
    with no_empty_folders(args.json, args.sheet):
        return _run(args, config)


def _run(args: argparse.Namespace, config: DataConfig) -> int:
    out, sheet = (Path(path) if path else None for path in (args.json, args.sheet))
    datasets, missing, notes = _open(config, args.split)
    named = [Path(path) for path in (args.config, args.folder) if path]
    inputs = [*named, *(path for dataset in datasets for path in files_of(config, dataset))]
    if sheet:
        _check_sheet(sheet, inputs, args.overwrite)
    if out:
        places = [[dataset.split, str(dataset.place)] for dataset in datasets]
        check_json_target(
            out,
            "--json",
            lambda content: [[part["split"], part["place"]] for part in content["splits"]] == places,
            what="a check",
            overwrite=args.overwrite,
            inputs=inputs,
        )
    reports, wrong = _check(config, datasets, missing)
    print(_text(reports, wrong, notes))
    if sheet:
        with atomic_path(sheet) as temporary:
            save_image(label_sheet(datasets), temporary, **SHEET_QUALITY)
        print(f"written: {sheet}")
    if out:
        content = {"splits": [report.content() for report in reports], "wrong": wrong, "notes": notes}
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"written: {out}")
    return _code(reports, wrong)


def check_folder(folder: Path, splits: Sequence[str]) -> tuple[int, Image.Image]:
    """Print what the command says of splits of a data folder; returns its exit code, and the contact sheet."""
    config = data_config(str(folder), [], "magnet data check")
    datasets, missing, notes = _open(config, list(splits))
    reports, wrong = _check(config, datasets, missing)
    print(_text(reports, wrong, notes))
    return _code(reports, wrong), label_sheet(datasets)


def _check(
    config: DataConfig, datasets: Sequence[LabelledFiles], missing: dict[str, list[str]]
) -> tuple[list[SplitReport], dict[str, list[str]]]:
    """What is in each split, and what is wrong with them together."""
    reports = [check_split(dataset) for dataset in datasets]
    judge(reports, config.accept)
    shared = shared_images(datasets)
    return reports, {**missing, **({"images in several splits": shared} if shared else {})}


def _code(reports: Sequence[SplitReport], wrong: dict[str, list[str]]) -> int:
    return 1 if wrong or any(report.wrong for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="magnet data check",
        usage="magnet data check (--config FILE | DIR) [--data.KEY VALUE ...] [--split NAMES] [--json FILE] "
        "[--sheet FILE]",
        description="Read every image and label file of a data set; print what they hold and all that is wrong with "
        "them. Exit code 1 if something is.",
    )
    parser.add_argument("command", choices=["check"], help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", metavar="DIR", help="a data set; its layout is recognised")
    parser.add_argument("--config", help="a training YAML or the name of a recipe, whose keys can be set too")
    parser.add_argument("--split", type=_splits, help="comma-separated, of train, val, test (default: all)")
    parser.add_argument("--json", metavar="FILE", help="JSON file to write, with every message")
    parser.add_argument(
        "--sheet", metavar="FILE", help="JPEG to draw: images with their labels over them, some of each split"
    )
    parser.add_argument("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def _check_sheet(path: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before any work, a place for the sheet that is no JPEG's, or taken."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        raise ArgumentError(f"--sheet: expected a JPEG to write, got '{path}'; call it FILE.jpg")
    check_targets([(path, "the sheet")], inputs, "--sheet")
    check_output_dir(path.parent, "--sheet")
    if path.is_dir():
        raise ArgumentError(f"--sheet: expected a JPEG to write, but '{path}' is a folder; choose another name")
    if os.path.lexists(path) and not overwrite:
        raise MagNetError(f"--sheet: '{path}' is there already; choose another name, or give --overwrite to replace it")


def _splits(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if set(names) - set(_SPLITS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(_SPLITS)}, got '{text}'")
    return list(dict.fromkeys(names))


def _config(args: argparse.Namespace, rest: list[str]) -> DataConfig:
    if bool(args.config) == bool(args.folder):
        _parser().error("expected --config FILE or a folder DIR, one of them")
    if args.folder:
        return data_config(args.folder, rest, "magnet data check")
    return parse_config(["--config", args.config, *rest], build_train_parser("magnet data check")).data


def _open(config: DataConfig, wanted: list[str] | None) -> tuple[list[LabelledFiles], dict[str, list[str]], list[str]]:
    """The data sets of the splits, messages of those that cannot be opened, and notes."""
    datasets: list[LabelledFiles] = []
    missing: list[str] = []
    notes: list[str] = []
    for split in wanted or _SPLITS:
        try:
            opened = open_files(config, split, extra=split == "train", strict=False)
        except MagNetError as error:
            # many data sets come without one, and training does not need it
            (notes if split == "test" and not wanted else missing).append(f"{split}: {error}")
            continue
        datasets += opened
    if not datasets:
        raise MagNetError([*missing, *notes][0].partition(": ")[2])
    return datasets, {"splits": missing} if missing else {}, notes


def _text(reports: Sequence[SplitReport], wrong: dict[str, list[str]], notes: Sequence[str]) -> str:
    lines = []
    for report in reports:
        sizes = [f"{h}x{w}" for h, w in report.sizes.values()]
        size = "none readable"
        if sizes:
            low, median, high = sizes
            size = f"{low} (HxW)" if len(set(sizes)) == 1 else f"HxW min {low}, median {median}, max {high}"
        lines.append(f"{report.split}: {report.images} images, {size}  {report.place}")
        lines += _class_table(report)
        lines += _messages(report.notes, "  note: ")
        for kind, messages in report.wrong.items():
            lines += _messages(messages, f"  wrong, {kind}: ")
    lines += _messages(notes, "note: ")
    for kind, messages in wrong.items():
        lines += _messages(messages, f"wrong, {kind}: ")
    count = sum(len(messages) for part in (wrong, *(r.wrong for r in reports)) for messages in part.values())
    noted = bool(notes) or any(report.notes for report in reports)
    well = "nothing has to be mended; see the notes" if noted else "all is well"
    return "\n".join([*lines, f"{count} things are wrong" if count > 1 else "1 thing is wrong" if count else well])


def _class_table(report: SplitReport) -> list[str]:
    counts = report.counts
    width = max(len(name) for name in counts.class_names)
    lines = [f"  {'id':>3} {'class':{width}} {'% of pixels':>12} {'images':>7}"]
    for i, name in enumerate(counts.class_names):
        lines.append(f"  {i:>3} {name:{width}} {report.percent(i):12.3f} {counts.images_with[i]:7}")
    total = max(sum(counts.pixels) + counts.ignored, 1)
    lines.append(f"  {'':>3} {'ignored':{width}} {100 * counts.ignored / total:12.3f}  of all pixels")
    found = list(report.strange.items())
    if found:
        shown = ", ".join(f"{value}: {pixels}" for value, pixels in found[:_SHOWN])
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        lines.append(f"  pixels of values that are of no class: {shown}{more}")
    return lines


def _messages(messages: Sequence[str], start: str) -> list[str]:
    shown = [f"{start}{message}" for message in messages[:_SHOWN]]
    return shown + ([f"{start}and {len(messages) - _SHOWN} more"] if len(messages) > _SHOWN else [])
