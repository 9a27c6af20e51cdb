"""``magnet predict``: segment images from the command line."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from tqdm import tqdm

from magnet.cli.arguments import (
    Parser,
    add_walk_options,
    device_name,
    kernel_size,
    n_patches,
    n_points,
    walk_options,
    wrong_values,
)
from magnet.cli.predict_rasters import RASTER_SUFFIXES, add_raster_options, check_kinds, open_ground, raster_options
from magnet.devices import check_device
from magnet.errors import ArgumentError, MagNetError, printable
from magnet.files.atomic import save_image
from magnet.files.outputs import OVERWRITE_HELP, Outputs, results_in
from magnet.images import draw
from magnet.images.large import open_image
from magnet.images.png import write_palette_png
from magnet.images.rasters.raster import Raster
from magnet.images.read import IMAGE_SUFFIXES, CorruptImageError
from magnet.model.magnet import MagNet
from magnet.model.predict_raster import segment_raster
from magnet.model.prediction import Prediction
from magnet.model.pretrained import find_model
from magnet.model.raster_results import KINDS, raster_targets
from magnet.notices import sum_up

__all__ = ["SAVE", "find_images", "main", "save_prediction", "targets_of"]

# what --save takes, and the file each one writes
SAVE = {
    "labels": "_labels.png",
    "overlay": "_overlay.jpg",
    "coarse": "_coarse.png",
    "uncertainty": "_uncertainty.png",
    "probabilities": "_probabilities.npy",
    "sheet": "_sheet.png",
    "full_labels": "_full_labels.png",
}
_LOG = logging.getLogger("magnet")
_NAMED = 5  # folders in a message
_STRIP = 256  # rows of full_labels made at a time


def find_images(paths: Iterable[str]) -> list[Path]:
    """Files, and the images in folders (not below them), in order, each once.

    A link to nothing is among the images of its folder, so that it is told. What macOS leaves beside them as
    ``._x.png`` is not.

    Raises:
        MagNetError: nothing there, a folder without images, or two images whose results would have the same name.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            written = results_in(path)
            inside = sorted(p for p in path.iterdir() if _is_image(p) and p not in written)
            left_out = sum(_is_image(p) for p in written if p.parent == path)
            pipes = [p for p in path.iterdir() if _has_suffix(p) and p.exists() and not p.is_file() and not p.is_dir()]
            if pipes:
                _LOG.warning(
                    f"image: left out of the folder '{path}': {len(pipes)} pipes or devices, as '{pipes[0]}'; copy "
                    "what comes from them to files"
                )
            if left_out:
                _LOG.warning(
                    f"image: left out of the folder '{path}': {left_out} results that magnet wrote there; give them by "
                    "name to segment them"
                )
            if not inside:
                raise MagNetError(
                    f"image: the folder '{path}' holds no images ({', '.join(IMAGE_SUFFIXES)}){_below(path)}"
                )
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            kind = "is a pipe, a socket or a device" if path.exists() else "does not exist"
            raise ArgumentError(f"image: expected a file or a folder, but '{path}' {kind}; check the path")
    stems: dict[str, Path] = {}
    for path in found:
        other = stems.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise ArgumentError(
                f"image: the results of '{other}' and '{path}' would have the same names; predict them into two folders"
            )
    return list(stems.values())


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *RASTER_SUFFIXES) and not path.name.startswith("._")


def _is_image(path: Path) -> bool:
    return _has_suffix(path) and (path.is_file() or (path.is_symlink() and not path.exists()))


def _below(path: Path) -> str:
    """What to do about a folder without images: name the folders in it that have some."""
    folders = sorted(p for p in path.iterdir() if p.is_dir())
    full = [p for p in folders if any(_is_image(inside) for inside in p.iterdir())]
    if not full:
        return "; check the path"
    names = ", ".join(f"'{p}'" for p in full[:_NAMED])
    more = f" and {len(full) - _NAMED} more" if len(full) > _NAMED else ""
    return f", but the folders in it do: {names}{more}; give those, as folders are not searched further down"


def _writers(model: MagNet, image: np.ndarray, prediction: Prediction) -> dict[str, Callable[[Path], None]]:
    """A function for each kind of ``SAVE``, which writes that result of the image to a path.

    Args:
        model: gives the names and colours of the classes.
        image: (H, W, 3) uint8, as it was predicted; results have its size (H, W), but full_labels that of the file.
        prediction: of the image.
    """
    size = (image.shape[0], image.shape[1])
    colours: draw.Colours = draw.default_colours(model.num_classes or int(prediction.labels.max()) + 1)
    if model.colours:
        colours = cast("draw.Colours", model.colours)  # nn.Module hides the types of its attributes
    labels = prediction.labels.cpu().numpy()

    def coarse() -> np.ndarray:
        assert prediction.stages
        return prediction.stages[0].labels(size).cpu().numpy()

    def sheet(path: Path) -> None:
        assert prediction.stages
        first, last = prediction.stages[0], prediction.stages[-1]
        picture = draw.picture_sheet(
            image,
            coarse(),
            labels,
            uncertainty=first.uncertainty.cpu().numpy(),
            points=last.points_mask().numpy(),
            colours=colours,
            class_names=cast("list[str] | None", model.class_names),
        )
        save_image(picture, path)

    def uncertainty(path: Path) -> None:
        values = np.clip(prediction.uncertainty.cpu().numpy(), 0, 1)
        grey = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        save_image(grey.resize(size[::-1], Image.Resampling.BILINEAR), path)

    def probabilities(path: Path) -> None:
        assert prediction.probabilities is not None
        buffer = io.BytesIO()  # numpy's own writing gives no reason where a disk is full
        np.save(buffer, prediction.probabilities.half().cpu().numpy())
        path.write_bytes(buffer.getbuffer())

    def full_labels(path: Path) -> None:
        height, width = prediction.image_size
        tops = range(0, height, _STRIP)
        strips = (prediction.labels_in((0, y, width, min(y + _STRIP, height))).cpu().numpy() for y in tops)
        indices = (np.asarray(draw.label_image(strip, colours)) for strip in strips)
        write_palette_png(path, (height, width), draw.colour_table(colours), indices)

    return {
        "full_labels": full_labels,
        "labels": lambda path: save_image(draw.label_image(labels, colours), path),
        "overlay": lambda path: save_image(Image.fromarray(draw.overlay(image, labels, colours)), path, quality=92),
        "coarse": lambda path: save_image(draw.label_image(coarse(), colours), path),
        "uncertainty": uncertainty,
        "probabilities": probabilities,
        "sheet": sheet,
    }


def targets_of(path: Path, folder: Path, save: Sequence[str]) -> dict[str, Path]:
    """Of each kind of result of an image, the file that it is written to."""
    return {kind: folder / f"{path.stem}{SAVE[kind]}" for kind in save}


def save_prediction(
    model: MagNet,
    image: np.ndarray,
    prediction: Prediction,
    targets: Mapping[str, Path],
    outputs: Outputs,
    source: str,
) -> None:
    """Write the results of one image, each kind to its target. Each file is whole or not there.

    Args:
        source: what ``outputs`` records that they are made from.
    """
    writers = _writers(model, image, prediction)
    for kind, target in targets.items():
        with outputs.write(target, source) as temporary:
            writers[kind](temporary)


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    known = list(dict.fromkeys([*SAVE, *KINDS]))
    if not kinds or any(kind not in known for kind in kinds):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got '{text}'")
    return list(dict.fromkeys(kinds))


def _scene_kinds(save: Sequence[str] | None, path: Path) -> list[str]:
    """What to save of a scene.

    Raises:
        ArgumentError: results that there are of rasters alone.
    """
    kinds = list(save) if save is not None else ["labels", "overlay"]
    wrong = [kind for kind in kinds if kind not in SAVE]
    if wrong:
        raise ArgumentError(
            f"--save: expected some of {','.join(SAVE)} for the scene '{path}', got {','.join(wrong)}, which there are "
            "of rasters; leave it out, or give --extent ground"
        )
    return kinds


def build_parser() -> Parser:
    """The parser of ``magnet predict``."""
    parser = Parser(prog="magnet predict", description="Segment images with a trained MagNet.")
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or folders of images")
    add("--model", required=True, help="folder of a model, or the name of one that comes with the library")
    add("--out", required=True, help="folder for the results, made if it is not there")
    add(
        "--save",
        type=_kinds,
        help=f"some of {','.join(SAVE)} (labels,overlay); of maps and slides of {','.join(KINDS)} (labels)",
    )
    add("--n-patches", type=n_patches, help="look at this many patches a scale (MagNet-Fast); default: the model's")
    add("--n-points", type=n_points, help="pixels replaced a scale: a count, or a fraction as 0.5")
    add("--kernel-size", type=kernel_size, help="median filter of the scores, odd, 1 to 15")
    add_walk_options(parser)
    add_raster_options(parser)
    add(
        "--corrupt",
        choices=("error", "skip"),
        default="error",
        help="files that cannot be read are named and the others done; error: the exit code is then 1 (default); "
        "skip: they are counted, and it is 1 only where none could be read",
    )
    add("--amp", choices=("none", "bf16"), default="none", help="bf16: networks in bfloat16, faster (none)")
    add("--device", type=device_name, help="cpu or cuda; default: cuda where there is one")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def load_model(
    name: str, *, device: str | None = None, amp: str = "none", **changes: int | float | list[int] | None
) -> MagNet:
    """A model by folder or name, on the device that was asked for or the best there is; None changes nothing."""
    import torch

    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device("--device", device)
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MagNetError(f"--device: '{device}' cannot be used here ({reason}); leave it out") from error
    wanted = {key: value for key, value in changes.items() if value is not None}
    with wrong_values():
        model = MagNet.from_pretrained(name, amp=amp, **wanted)
    return model.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def main(argv: Sequence[str]) -> int:
    """``magnet predict``. Images past Pillow's size limit have results at the last scale, and full_labels at their own.

    Returns:
        0; 1 where some images could not be read (with ``--corrupt skip``: none could be read).

    Raises:
        MagNetError: nothing could be begun. Exits with 2 on wrong arguments.
    """
    args = build_parser().parse_args(argv)
    raster_options(args)  # or what is wrong with them would be told after the first images
    images = find_images(args.images)
    find_model(args.model)  # before what is in the way of its results
    folder = Path(args.out)
    for text in args.images:
        if folder.is_dir() and Path(text).is_dir() and folder.samefile(text):
            raise ArgumentError(
                f"--out: '{folder}' is a folder of the images, where the results would be taken for images the next "
                "time; choose another folder"
            )
    by = f"the model '{Path(args.model).resolve() if Path(args.model).is_dir() else args.model}'"
    sources = {path: f"'{path.resolve()}' with {by}" for path in images}
    with Outputs(folder, "magnet predict", overwrite=args.overwrite) as outputs:
        outputs.check([(one, sources[path]) for path in images for one in _targets(path, folder, args)], images)
        model = load_model(
            args.model,
            device=args.device,
            amp=args.amp,
            n_patches=args.n_patches,
            n_points=args.n_points,
            kernel_size=args.kernel_size,
            **walk_options(args),
        )
        return _predict(model, images, outputs, sources, args)


def _targets(path: Path, folder: Path, args: argparse.Namespace) -> list[Path]:
    """The files that are written of an image, which need not be readable: that is told when its turn comes."""
    try:
        raster = open_ground(path, args)
    except ArgumentError:
        raise
    except MagNetError:
        return []
    if raster is None:
        return list(targets_of(path, folder, _scene_kinds(args.save, path)).values())
    with raster:
        check_kinds(args.save, path)
        return list(raster_targets(raster, path.stem, folder, raster_options(args).save).values())


def _predict_ground(
    model: MagNet, raster: Raster, path: Path, outputs: Outputs, told: str, args: argparse.Namespace
) -> None:
    with raster:
        settings = model.settings.changed(progress=None)
        record = segment_raster(model, raster, settings, raster_options(args), outputs, path.stem, told)
    height, width = record.size
    resumed = f", {record.resumed} of them by an earlier run" if record.resumed else ""
    tqdm.write(
        printable(
            f"{path}: {record.seconds:.1f} s, {height}x{width} in {record.fields} fields{resumed}, "
            f"{', '.join(map(str, record.outputs.values()))}",
            4000,
        ),
        file=sys.stdout,
    )


def _predict(
    model: MagNet, images: list[Path], outputs: Outputs, sources: Mapping[Path, str], args: argparse.Namespace
) -> int:
    """All images one after the other; returns the exit code."""
    several = len(images) > 1
    kinds = set(args.save or ())
    stages = bool({"coarse", "sheet"} & kinds)
    maps = bool({"uncertainty", "probabilities"} & kinds)
    failed = corrupt = 0
    for path in tqdm(images, desc="predicting", unit="image", disable=None if several else True):
        try:
            raster = open_ground(path, args)
            if raster is not None:
                _predict_ground(model, raster, path, outputs, sources[path], args)
                continue
            opened = open_image(path)
            image = opened.at_most(model.plan(opened.size).scales[-1])
        except MagNetError as error:
            skipped = args.corrupt == "skip" and isinstance(error, CorruptImageError)
            failed, corrupt = failed + (not skipped), corrupt + skipped
            tqdm.write(f"magnet: {'skipped' if skipped else 'error'}: {printable(error, 2000)}", file=sys.stderr)
            continue
        probabilities = maps or (opened.large and "full_labels" in kinds)
        progress = False if several else None  # one bar is enough
        prediction = model.predict(image, return_stages=stages, probabilities=probabilities, progress=progress)
        prediction.image_size = opened.size
        targets = targets_of(path, outputs.folder, _scene_kinds(args.save, path))
        save_prediction(model, image, prediction, targets, outputs, sources[path])
        told = f"{path}: {prediction.seconds:.1f} s, {', '.join(map(str, targets.values()))}"
        if opened.large:
            (h, w), (height, width) = image.shape[:2], opened.size
            told += f" (image of {height}x{width}, past Pillow's size limit: results at {h}x{w}, the last scale"
            told += ")" if "full_labels" in kinds else "; --save full_labels writes labels of every pixel)"
        tqdm.write(printable(told, 4000), file=sys.stdout)
    sum_up()
    if failed and several:
        print(f"magnet: error: {failed} of {len(images)} images could not be read", file=sys.stderr)
    if corrupt:
        print(f"magnet: skipped {corrupt} of {len(images)} images, which could not be read", file=sys.stderr)
    if corrupt == len(images):
        return 1
    return 1 if failed else 0
