"""The rasters of ``magnet predict``: maps and slides, whose pixels have a fixed size on the ground."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from magnet.cli.arguments import Parser
from magnet.errors import ArgumentError
from magnet.images.rasters.channels import Channels
from magnet.images.rasters.open import check_page, open_placed, open_raster
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.sidecars import world_file_path
from magnet.images.rasters.zarrs import is_zarr_folder
from magnet.model.predict_raster import RasterOptions
from magnet.model.raster_results import KINDS
from magnet.walk.field_walk import WORKERS
from magnet.walk.fields import OVERLAP

__all__ = ["RASTER_SUFFIXES", "add_raster_options", "check_kinds", "may_be_placed", "open_ground", "raster_options"]

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide")
# options that say nothing of a scene, and their defaults
_GROUND_ONLY = {
    "tissue": False,
    **dict.fromkeys(("roi", "mask", "classes", "resolution")),
    "min_confidence": 0.0,
    "overlap": OVERLAP,
    "workers": WORKERS,
    "fields_per_pass": None,
}


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected x0,y0,x1,y1 in pixels, got '{text}'; give four whole numbers"
        ) from None
    return x0, y0, x1, y1


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers as 3,2,1, got '{text}'; give whole numbers") from None


def _value_range(text: str) -> str | tuple[float, float]:
    if text in ("dtype", "percentile"):
        return text
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected LOW,HIGH, dtype or percentile, got '{text}'; give the values that are black and white"
        ) from None
    return low, high


def may_be_placed(path: Path) -> bool:
    """Whether a file is called a raster, or a world file lies beside it."""
    return path.suffix.lower() in RASTER_SUFFIXES or world_file_path(path) is not None


def add_raster_options(parser: Parser) -> None:
    """What says how maps and slides are segmented."""
    group = parser.add_argument_group("maps and slides, field by field at their own pixels")
    add = group.add_argument
    add(
        "--extent",
        choices=("scene", "ground"),
        help="scene: an image is resized whole; ground: a raster is laid out in overlapping fields of the last scale, "
        "at its own pixels; default: the model's, else ground for files with a place on earth or a pixel size",
    )
    add(
        "--resolution",
        metavar="0.5m",
        help="side of a pixel of the last scale, in m or um; default: the model's",
    )
    add(
        "--overlap", type=float, default=OVERLAP, help=f"share of a field in common with the next, 0 to 0.5 ({OVERLAP})"
    )
    add("--roi", type=_box, metavar="X0,Y0,X1,Y1", help="only this part, in pixels")
    add(
        "--mask",
        metavar="FILE",
        help="only where this raster is not 0, or within the polygons of this GeoJSON file: brought over by its place, "
        "or of the same size or aspect",
    )
    add("--tissue", action="store_true", help="only where a slide is coloured, as tissue is")
    add("--bands", type=_numbers, metavar="3,2,1", help="bands that the networks see, from 1; default: the model's")
    add(
        "--value-range",
        type=_value_range,
        metavar="LOW,HIGH",
        help="values that are black and white; or dtype, or percentile; default: the model's",
    )
    add("--classes", type=_numbers, metavar="1,2", help="the only classes that are answers; others become 255")
    add(
        "--min-confidence",
        type=float,
        default=0.0,
        help="first less second probability, 0 to 1; pixels below it become 255 (0)",
    )
    add("--page", type=int, help="of a TIFF of several, from 0; results are named by it, as NAME_page1_labels")
    add(
        "--workers",
        type=int,
        default=WORKERS,
        help=f"groups of fields under way at a time, whatever the results ({WORKERS})",
    )
    add(
        "--fields-per-pass",
        type=int,
        help="fields that go through the networks together; default: as many as fill a pass on a GPU, one on a CPU",
    )


def raster_options(args: argparse.Namespace) -> RasterOptions:
    """The options of maps and slides.

    Raises:
        ArgumentError: one of them is not valid.
    """
    save = [kind for kind in args.save or () if kind in KINDS] or ["labels"]
    if args.mask is not None and not Path(args.mask).exists():
        raise ArgumentError(f"--mask: expected a raster or a GeoJSON file, but '{args.mask}' does not exist; check it")
    try:
        return RasterOptions(
            save=save,
            resolution=args.resolution,
            overlap=args.overlap,
            roi=args.roi,
            mask=args.mask,
            tissue=args.tissue,
            channels=Channels(args.bands, args.value_range),
            classes=args.classes,
            min_confidence=args.min_confidence,
            mapping=args.mapping,
            workers=args.workers,
            fields_per_pass=args.fields_per_pass,
        )
    except ValueError as error:
        name, _, rest = str(error).partition(":")
        raise ArgumentError(f"--{name.replace('_', '-')}:{rest}") from error


def open_ground(path: Path, args: argparse.Namespace) -> Raster | None:
    """A file opened as a raster, where it is to be segmented field by field; None: it is a scene.

    Raises:
        ArgumentError: an option of rasters is given for a scene; an array is to be a scene.
        MagNetError: it is a raster, or called one, and cannot be opened; it has no page of that number, or no pages.
    """
    is_zarr = is_zarr_folder(path)
    if (is_zarr and args.extent == "scene") or (path.suffix.lower() == ".npy" and args.extent != "ground"):
        raise ArgumentError(
            f"--extent: expected ground, as '{path}' is an array, which is laid out in fields; give --extent ground"
        )
    if is_zarr:
        return open_raster(path, page=args.page)
    if args.extent == "ground":
        return open_raster(path, page=args.page)
    if args.extent != "scene" and may_be_placed(path):
        raster = open_placed(path, page=args.page)
        if raster is not None:
            return raster
    for name, default in _GROUND_ONLY.items():
        if getattr(args, name) != default:
            raise ArgumentError(
                f"--{name.replace('_', '-')}: expected a raster segmented field by field, but '{path}' is a scene: no "
                "place on earth and no pixel size; give --extent ground"
            )
    if path.is_file():  # else it is told when its turn comes
        check_page(path, args.page)
    return None


def check_kinds(kinds: Sequence[str] | None, path: Path) -> None:
    """Refuse kinds of results that there are none of for a raster.

    Raises:
        ArgumentError: there are some.
    """
    wrong = [kind for kind in kinds or () if kind not in KINDS]
    if wrong:
        raise ArgumentError(
            f"--save: expected some of {','.join(KINDS)} for the raster '{path}', got {','.join(wrong)}; "
            "leave it out, or give --extent scene"
        )
