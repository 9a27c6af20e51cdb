"""``magnet convert``: checkpoints of the public release become a folder that ``MagNet.from_pretrained`` loads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magnet.cli.arguments import Parser, count_between, kernel_size, n_patches, n_points, size
from magnet.cli.config import parse_config
from magnet.errors import ArgumentError, printable
from magnet.files.atomic import atomic_path, no_empty_folders
from magnet.files.outputs import OVERWRITE_HELP, check_json_target, check_targets
from magnet.model.convert import convert, count_keys
from magnet.networks import SEGMENTERS
from magnet.walk.settings import WalkSettings

__all__ = ["main"]


def describe(keys: Any) -> str:
    """A ``KeyReport`` as text: matched keys by number, all others by name."""
    under = f" under '{keys.prefix}'" if keys.prefix else ""
    lines = [f"{keys.source}: {len(keys.matched)} keys matched{under}, {len(keys.ignored)} ignored, {count_keys(keys)}"]
    lines += [f"  ignored     {key}: {reason}" for key, reason in keys.ignored.items()]
    lines += [f"  missing     {key}" for key in keys.missing]
    lines += [f"  unexpected  {key}" for key in keys.unexpected]
    lines += [f"  mis-shaped  {key}: file {theirs}, network {own}" for key, (theirs, own) in keys.mismatched.items()]
    return "\n".join(printable(line) for line in lines)  # keys come from the file


def build_parser() -> Parser:
    """The parser of ``magnet convert``."""
    parser = Parser(
        prog="magnet convert",
        description="Turn a backbone and refinement modules of the public release into a folder that "
        "MagNet.from_pretrained and --model take. Every key is accounted for; no code in a file is run.",
    )
    add = parser.add_argument
    add("--backbone", required=True, metavar="FILE", help="checkpoint of the segmenter: .pth, .pt or .safetensors")
    add(
        "--refiners",
        required=True,
        nargs="+",
        metavar="FILE",
        help="checkpoints of the refinement modules: one for all scales, or one for each scale after the first",
    )
    add("--out", required=True, metavar="DIR", help="folder to write, made if it is not there")
    add("--num-classes", required=True, type=count_between(2, 1000), help="number of classes, as 19 for Cityscapes")
    add("--config", metavar="FILE", help="YAML or name of a recipe that gives network, scales, sizes and points")
    add("--network", help="hrnet18+ocr, hrnet48+ocr, fpn or psp")
    add("--scales", nargs="+", type=size, metavar="HxW", help="coarse to fine, as 128x256 256x512 512x1024")
    add("--patch-size", type=size, metavar="HxW", help="of the patches cut at each later scale")
    add("--input-size", type=size, metavar="HxW", help="that the networks see; default: as --patch-size")
    add("--n-points", type=n_points, help="pixels replaced a scale: a count, or a fraction as 0.75")
    add("--n-patches", type=n_patches, help="patches looked at a scale (MagNet-Fast); default: all")
    add("--kernel-size", type=kernel_size, help="median filter of the scores (3; the release uses 5 or 11)")
    add("--compat", choices=("official", "paper"), default="official", help="official: the release's own results")
    add("--half", action="store_true", help="store the larger weights in half precision")
    add("--report", metavar="FILE", help="JSON file for the report: every key of every checkpoint, matched ones too")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def _settings(args: argparse.Namespace, parser: Parser) -> dict[str, Any]:
    """What ``convert`` takes: the options given, over those of the recipe."""
    names = ("network", "scales", "patch_size", "input_size", "n_points", "kernel_size")
    given: dict[str, Any] = {}
    if args.config:
        config = parse_config(["--config", args.config])
        if config.segmenter.encoder:
            parser.error(
                f"argument --config: expected a recipe of a network of the release, got one with segmenter.encoder "
                f"'{config.segmenter.encoder}'; choose another, or take it out"
            )
        given = {name: getattr(config.walk, name) for name in names[1:]} | {"network": config.segmenter.network}
    given |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    lacking = [f"--{name.replace('_', '-')}" for name in ("network", "scales", "patch_size", "n_points")]
    lacking = [option for option in lacking if option[2:].replace("-", "_") not in given]
    if lacking:
        parser.error(f"expected {', '.join(lacking)}, or a --config that gives them")
    if given["network"] not in SEGMENTERS:
        parser.error(f"argument --network: expected one of {', '.join(SEGMENTERS)}, got '{given['network']}'")
    network = given.pop("network")
    try:
        settings = WalkSettings(**given, n_patches=args.n_patches, compat=args.compat)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    return {"network": network, **asdict(settings)}


def main(argv: Sequence[str]) -> int:
    """Returns 0 once the folder is written; raises MagNetError; exits with 2 on wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    settings = _settings(args, parser)
    with no_empty_folders(args.report):
        _convert(args, settings)
    print(f"written: {args.out}; use it with --model {args.out}, or MagNet.from_pretrained({args.out!r})")
    return 0


def _convert(args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Write the model, and the report, whether all checkpoints fit or not."""
    reports: list[Any] = []

    def tell(keys: Any) -> None:
        reports.append(keys)
        print(describe(keys))

    for path in (args.backbone, *args.refiners):
        if not Path(path).is_file():
            kind = "is no file" if Path(path).exists() else "does not exist"
            raise ArgumentError(f"weights: expected a file, but '{path}' {kind}; check the path")
    if args.report:
        files = [args.backbone, *args.refiners]
        check_targets([(Path(args.report), "the report")], map(Path, files), "--report")
        check_json_target(
            Path(args.report),
            "--report",
            lambda content: bool(content) and all(entry["source"] in files for entry in content),
            what="a report",
            overwrite=args.overwrite,
        )
    try:
        convert(
            args.backbone,
            args.refiners,
            args.out,
            num_classes=args.num_classes,
            report=tell,
            half=args.half,
            overwrite=args.overwrite,
            **settings,
        )
    finally:
        if args.report and reports:
            with atomic_path(args.report) as temporary:
                temporary.write_text(json.dumps([asdict(keys) for keys in reports], indent=2) + "\n", encoding="utf-8")
