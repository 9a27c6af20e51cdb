"""``magnet data import``: labels of other tools as the folder that ``magnet train`` reads."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from magnet.bounds import MAX_INT
from magnet.cli.arguments import Parser, count_between
from magnet.cli.data_check import SHEET_QUALITY, check_folder
from magnet.data.imports.coco import read_coco
from magnet.data.imports.colours import read_colour_table, read_colours, read_voc
from magnet.data.imports.found import Found
from magnet.data.imports.geojson import read_features
from magnet.data.imports.write import SOURCE, write_folder
from magnet.data.splits import seeded_split
from magnet.errors import ArgumentError, printable
from magnet.files.atomic import save_image
from magnet.files.outputs import OVERWRITE_HELP, Outputs

__all__ = ["main"]

SHEET = "sheet.jpg"
_SPLITS = ("train", "val", "test")
_SHARES = {"val": 0.15, "test": 0.15}


def main(argv: Sequence[str]) -> int:
    """The exit code of ``magnet data check`` on the folder written; raises MagNetError, or exits with 2 on wrong
    arguments."""
    args = _parser().parse_args(argv)
    source, out = Path(args.source), Path(args.out)
    if args.split and (args.val is not None or args.test is not None):
        raise ArgumentError(
            "--split: expected no --val and --test beside it, as all images are of one split; drop them"
        )
    if not source.exists():
        raise ArgumentError(f"SOURCE: expected a file or a folder, but '{source}' does not exist; check the path")
    found = _read(args, source)
    splits = _splits_of(found, args)
    with Outputs(out, "magnet data import", overwrite=args.overwrite, inside=("images", "labels")) as outputs:
        write_folder(found, outputs, splits, SHEET, overwrite=args.overwrite)
        for note in found.notes:
            print(printable(f"note: {note}", 2000))
        counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
        print(printable(f"imported: {sum(map(len, splits.values()))} images ({counts}) into {out}", 2000))
        code, sheet = check_folder(out, [split for split in _SPLITS if _is_wanted(out, split, args.split)])
        with outputs.write(out / SHEET, SOURCE) as temporary:
            save_image(sheet, temporary, **SHEET_QUALITY)
    print(printable(f"written: {out / SHEET}", 2000))
    return code


def _is_wanted(out: Path, split: str, only: str | None) -> bool:
    """Whether a split is to be checked: those that are there, and those that training needs, unless they come later."""
    return (out / f"{split}.txt").is_file() or (only is None and split != "test")


def _parser() -> Parser:
    parser = Parser(
        prog="magnet data import",
        usage="magnet data import coco|voc|colours|geojson SOURCE --out DIR [...]",
        description="Write labels of other tools, and copies of their images, as a data folder; then say what 'magnet "
        "data check' says of it, and draw its contact sheet. Label Studio and CVAT export COCO; CVAT's segmentation "
        "masks are voc.",
    )
    add = parser.add_argument
    add("command", choices=["import"], help=argparse.SUPPRESS)
    add("format", choices=("coco", "voc", "colours", "geojson"), help="what SOURCE is")
    add(
        "source",
        metavar="SOURCE",
        help="a COCO JSON file; the folder of a VOC layout; a folder of colour masks; a "
        "GeoJSON file, or a folder with one for each image",
    )
    add("--images", metavar="DIR", help="folder of the images (of voc: where JPEGImages has none)")
    add("--out", required=True, metavar="DIR", help="folder to write, made if it is not there")
    add("--ignore", metavar="NAMES", type=_names, default=[], help="comma-separated classes whose pixels are ignored")
    add("--split", choices=_SPLITS, help="put all images into this split; others can be imported beside it")
    for split, share in _SHARES.items():
        add(f"--{split}", type=_share, help=f"share of the images of the split {split} ({share}), chosen by name")
    add("--seed", type=count_between(0, MAX_INT), default=0, help="of that choice (0)")
    add("--background", default="background", help="coco, geojson: class of pixels without a label (background)")
    add(
        "--overlap",
        choices=("smaller", "later"),
        default="smaller",
        help="coco, geojson: which of two that overlap is on top (smaller)",
    )
    add(
        "--property", default="class", help="geojson: the property that names the class, as classification.name (class)"
    )
    add(
        "--skip-incomplete",
        action="store_true",
        help="leave out, of coco, annotations without an outline, as boxes alone, of geojson, features without a class",
    )
    add("--colours", metavar="FILE", help="colours: a line for each class, as '128 64 128 road' or 'road,128,64,128'")
    add("--tolerance", type=count_between(0, 255), default=0, help="colours: how far a channel may be off (0)")
    add("--mask-suffix", default=None, help="colours: what names of masks have beyond those of images, as _L")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, got '{text}'; give one as 0.15")
    return value


def _read(args: argparse.Namespace, source: Path) -> Found:
    if args.format == "voc":
        return read_voc(source, Path(args.images) if args.images else None, ignore=args.ignore)
    if not args.images:
        raise ArgumentError(
            f"--images: expected the folder of the images for {args.format}, got none; add --images DIR"
        )
    images = Path(args.images)
    if args.format == "coco":
        return read_coco(
            source,
            images,
            background=args.background,
            ignore=args.ignore,
            order=args.overlap,
            skip_incomplete=args.skip_incomplete,
        )
    if args.format == "geojson":
        return read_features(
            source,
            images,
            classes_from=args.property,
            background=args.background,
            ignore=args.ignore,
            order=args.overlap,
            skip_incomplete=args.skip_incomplete,
        )
    if not args.colours:
        raise ArgumentError("--colours: expected a file with the colour of each class, got none; add --colours FILE")
    return read_colours(
        source,
        images,
        read_colour_table(Path(args.colours)),
        ignore=args.ignore,
        tolerance=args.tolerance,
        suffix=args.mask_suffix or "",
    )


def _splits_of(found: Found, args: argparse.Namespace) -> Mapping[str, list[str]]:
    """The names of each split that is not empty: as asked, as the source has them, or chosen by name."""
    names = [item.name for item in found.items]
    if args.split:
        return {args.split: names}
    if found.splits and args.val is None and args.test is None:
        return found.splits
    shares = {split: share if (given := getattr(args, split)) is None else given for split, share in _SHARES.items()}
    if sum(shares.values()) >= 1:
        raise ArgumentError(f"--val: expected shares with a sum below 1, got {shares}; leave some images to train on")
    splits = {split: seeded_split(names, split, seed=args.seed, **shares) for split in _SPLITS}
    return {split: chosen for split, chosen in splits.items() if chosen}
