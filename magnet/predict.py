"""``magnet predict``: segment images from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image
from tqdm import tqdm

from magnet.arguments import (
    Parser,
    add_walk_options,
    check_device,
    device_name,
    kernel_size,
    n_patches,
    n_points,
    walk_options,
)
from magnet.errors import MagNetError
from magnet.files import atomic_path, check_output_dir
from magnet.images import IMAGE_SUFFIXES, CorruptImageError
from magnet.windows import open_image

if TYPE_CHECKING:
    from magnet.model import MagNet
    from magnet.prediction import Prediction

__all__ = ["SAVE", "find_images", "main", "save_prediction"]

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
_STRIP = 256  # rows of full_labels made at a time


def find_images(paths: Iterable[str]) -> list[Path]:
    """Files, and the images in folders (not below them), in order, each once.

    Raises:
        MagNetError: nothing there, a folder without images, or two images whose results would have the same name.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            if not inside:
                kinds = ", ".join(IMAGE_SUFFIXES)
                raise MagNetError(f"image: the folder '{path}' holds no images ({kinds}); check the path")
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise MagNetError(f"image: expected a file or a folder, but '{path}' does not exist; check the path")
    stems: dict[str, Path] = {}
    for path in found:
        other = stems.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise MagNetError(
                f"image: the results of '{other}' and '{path}' would have the same names; predict them into two folders"
            )
    return list(stems.values())


def _writers(model: MagNet, image: np.ndarray, prediction: Prediction) -> dict[str, Callable[[Path], None]]:
    """For each kind of result, what writes it to a path: of the size of ``image``, full_labels of that of the file."""
    from magnet import draw
    from magnet.png import write_palette_png

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
        draw.picture_sheet(
            image,
            coarse(),
            labels,
            uncertainty=first.uncertainty.cpu().numpy(),
            points=last.points_mask().numpy(),
            colours=colours,
            class_names=cast("list[str] | None", model.class_names),
        ).save(path)

    def uncertainty(path: Path) -> None:
        values = np.clip(prediction.uncertainty.cpu().numpy(), 0, 1)
        grey = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        grey.resize(size[::-1], Image.Resampling.BILINEAR).save(path)

    def probabilities(path: Path) -> None:
        assert prediction.probabilities is not None
        np.save(path, prediction.probabilities.half().cpu().numpy())

    def full_labels(path: Path) -> None:
        height, width = prediction.image_size
        tops = range(0, height, _STRIP)
        strips = (prediction.labels_in((0, y, width, min(y + _STRIP, height))).cpu().numpy() for y in tops)
        indices = (np.asarray(draw.label_image(strip, colours)) for strip in strips)
        write_palette_png(path, (height, width), draw.colour_table(colours), indices)

    return {
        "full_labels": full_labels,
        "labels": lambda path: draw.label_image(labels, colours).save(path),
        "overlay": lambda path: Image.fromarray(draw.overlay(image, labels, colours)).save(path, quality=92),
        "coarse": lambda path: draw.label_image(coarse(), colours).save(path),
        "uncertainty": uncertainty,
        "probabilities": probabilities,
        "sheet": sheet,
    }


def save_prediction(
    model: MagNet, image: np.ndarray, prediction: Prediction, folder: Path, stem: str, save: Sequence[str]
) -> list[Path]:
    """Write the results that ``save`` names, of one image, and return their paths. Each file is whole or not there."""
    writers = _writers(model, image, prediction)
    written = []
    for kind in save:
        target = folder / f"{stem}{SAVE[kind]}"
        with atomic_path(target) as temporary:
            writers[kind](temporary)
        written.append(target)
    return written


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in SAVE]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SAVE)}, got '{text}'")
    return list(dict.fromkeys(kinds))


def build_parser() -> Parser:
    """The parser of ``magnet predict``."""
    parser = Parser(prog="magnet predict", description="Segment images with a trained MagNet.")
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or folders of images")
    add("--model", required=True, help="folder of a model, or the name of one that comes with the library")
    add("--out", required=True, help="folder for the results, made if it is not there")
    add("--save", type=_kinds, default=["labels", "overlay"], help=f"some of {','.join(SAVE)} (labels,overlay)")
    add("--n-patches", type=n_patches, help="look at this many patches a scale (MagNet-Fast); default: the model's")
    add("--n-points", type=n_points, help="pixels replaced a scale: a count, or a fraction as 0.5")
    add("--kernel-size", type=kernel_size, help="median filter of the scores, odd, 1 to 15")
    add_walk_options(parser)
    add(
        "--corrupt",
        choices=("error", "skip"),
        default="error",
        help="files that cannot be read are named and the others done; error: the exit code is then 1 (default); "
        "skip: they are counted, and it is 1 only where none could be read",
    )
    add("--amp", choices=("none", "bf16"), default="none", help="bf16: networks in bfloat16, faster (none)")
    add("--device", type=device_name, help="cpu or cuda; default: cuda where there is one")
    return parser


def load_model(
    name: str, *, device: str | None = None, amp: str = "none", **changes: int | float | list[int] | None
) -> MagNet:
    """A model by folder or name, on the device that was asked for or the best there is; None changes nothing."""
    import torch

    from magnet.model import MagNet

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
    images = find_images(args.images)
    folder = check_output_dir(args.out)
    model = load_model(
        args.model,
        device=args.device,
        amp=args.amp,
        n_patches=args.n_patches,
        n_points=args.n_points,
        kernel_size=args.kernel_size,
        **walk_options(args),
    )
    several = len(images) > 1
    if several:
        model.progress = False  # one bar is enough
    stages = bool({"coarse", "sheet"} & set(args.save))
    maps = bool({"uncertainty", "probabilities"} & set(args.save))
    failed = corrupt = 0
    for path in tqdm(images, desc="predicting", unit="image", disable=None if several else True):
        try:
            opened = open_image(path)
            image = opened.at_most(model.plan(opened.size).scales[-1])
        except MagNetError as error:
            skipped = args.corrupt == "skip" and isinstance(error, CorruptImageError)
            failed, corrupt = failed + (not skipped), corrupt + skipped
            tqdm.write(f"magnet: {'skipped' if skipped else 'error'}: {error}", file=sys.stderr)
            continue
        probabilities = maps or (opened.large and "full_labels" in args.save)
        prediction = model.predict(image, return_stages=stages, probabilities=probabilities)
        prediction.image_size = opened.size
        written = save_prediction(model, image, prediction, folder, path.stem, args.save)
        told = f"{path}: {prediction.seconds:.1f} s, {', '.join(map(str, written))}"
        if opened.large:
            (h, w), (height, width) = image.shape[:2], opened.size
            told += f" (image of {height}x{width}, past Pillow's size limit: results at {h}x{w}, the last scale"
            told += ")" if "full_labels" in args.save else "; --save full_labels writes labels of every pixel)"
        tqdm.write(told, file=sys.stdout)
    if failed and several:
        print(f"magnet: error: {failed} of {len(images)} images could not be read", file=sys.stderr)
    if corrupt:
        print(f"magnet: skipped {corrupt} of {len(images)} images, which could not be read", file=sys.stderr)
    if corrupt == len(images):
        return 1
    return 1 if failed else 0
