"""The scenes of ``magnet predict``, images that are resized whole: which results there are of one, and writing them."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from tqdm import tqdm

from magnet.cli.predict_inputs import Input
from magnet.cli.predict_report import summary_of
from magnet.devices import keep_memory_on
from magnet.errors import ArgumentError, printable
from magnet.files.atomic import save_image
from magnet.files.outputs import Outputs
from magnet.images import draw
from magnet.images.picture import as_picture
from magnet.images.png import write_palette_png
from magnet.images.rasters.read_input import InputImage
from magnet.model.class_ids import class_ids
from magnet.model.magnet import MagNet
from magnet.model.prediction import Prediction

__all__ = ["SAVE", "predict_scene", "save_prediction", "scene_kinds", "targets_of"]

# what --save takes, and the file each one writes
SAVE = {
    "labels": "_labels.png",
    "overlay": "_overlay.jpg",
    "coarse": "_coarse.png",
    "uncertainty": "_uncertainty.png",
    "probabilities": "_probabilities.npy",
    "sheet": "_sheet.png",
    "ids": "_ids.png",
    "full_labels": "_full_labels.png",
    "summary": "_summary.json",
}
_STRIP = 256  # rows of full_labels made at a time


def _writers(
    model: MagNet, image: np.ndarray, prediction: Prediction, mapping: Mapping[int, int] | None
) -> dict[str, Callable[[Path], None]]:
    """A function for each kind of ``SAVE``, which writes that result of the image to a path.

    Args:
        model: gives the names and colours of the classes.
        image: (H, W, 3) uint8, as it was predicted; results have its size (H, W), but full_labels that of the file.
        prediction: of the image.
        mapping: for ids, see :func:`magnet.model.class_ids.class_ids`.
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

    def ids(path: Path) -> None:
        of_class = class_ids(mapping, model.info, len(colours))
        table = np.array([of_class[number] for number in range(len(colours))], np.uint8)
        save_image(Image.fromarray(table[labels]), path)

    def full_labels(path: Path) -> None:
        height, width = prediction.image_size
        tops = range(0, height, _STRIP)
        strips = (prediction.labels_in((0, y, width, min(y + _STRIP, height))).cpu().numpy() for y in tops)
        indices = (np.asarray(draw.label_image(strip, colours)) for strip in strips)
        write_palette_png(path, (height, width), draw.colour_table(colours), indices)

    def small_pictures(path: Path) -> None:
        found = summary_of(image, coarse(), labels, colours, cast("list[str] | None", model.class_names))
        path.write_text(json.dumps(found), encoding="utf-8")

    return {
        "full_labels": full_labels,
        "ids": ids,
        "labels": lambda path: save_image(draw.label_image(labels, colours), path),
        "overlay": lambda path: save_image(Image.fromarray(draw.overlay(image, labels, colours)), path, quality=92),
        "coarse": lambda path: save_image(draw.label_image(coarse(), colours), path),
        "uncertainty": uncertainty,
        "probabilities": probabilities,
        "sheet": sheet,
        "summary": small_pictures,
    }


def targets_of(stem: str, folder: Path, save: Sequence[str]) -> dict[str, Path]:
    """Of each kind of result of an image, the file that it is written to; ``stem`` is what they are named by."""
    return {kind: folder / f"{stem}{SAVE[kind]}" for kind in save}


def save_prediction(
    model: MagNet,
    image: np.ndarray,
    prediction: Prediction,
    targets: Mapping[str, Path],
    outputs: Outputs,
    source: str,
    mapping: Mapping[int, int] | None = None,
) -> None:
    """Write the results of one image, each kind to its target. Each file is whole or not there.

    Args:
        mapping: for ids, see :func:`magnet.model.class_ids.class_ids`.
        source: what ``outputs`` records that they are made from.
    """
    writers = _writers(model, image, prediction, mapping)
    for kind, target in targets.items():
        with outputs.write(target, source) as temporary:
            writers[kind](temporary)


def scene_kinds(args: argparse.Namespace, path: Path) -> list[str]:
    """What to save of a scene.

    Raises:
        ArgumentError: results that there are of rasters alone.
    """
    kinds = list(args.save) if args.save is not None else ["labels", "overlay"]
    if args.report and "summary" not in kinds:
        kinds.append("summary")
    wrong = [kind for kind in kinds if kind not in SAVE]
    if wrong:
        raise ArgumentError(
            f"--save: expected some of {','.join(SAVE)} for the scene '{path}', got {','.join(wrong)}, which there are "
            "of rasters; leave it out, or give --extent ground"
        )
    return kinds


def predict_scene(
    model: MagNet,
    scene: InputImage,
    one: Input,
    outputs: Outputs,
    source: str,
    args: argparse.Namespace,
    progress: bool | None,
) -> list[Path]:
    """Segment an image that was read, and write its results: these files."""
    kinds = scene_kinds(args, one.path)
    (h, w), (height, width) = scene.pixels.shape[:2], scene.size
    shrunk = (h, w) != (height, width)
    probabilities = bool({"uncertainty", "probabilities"}.intersection(kinds)) or (shrunk and "full_labels" in kinds)
    stages = bool({"coarse", "sheet", "summary"}.intersection(kinds))
    keep_memory_on(model.device)  # not for rasters, where its pieces would outgrow what a field takes
    prediction = model.predict(scene, return_stages=stages, probabilities=probabilities, progress=progress)
    targets = targets_of(one.stem, outputs.folder / one.folder, kinds)
    save_prediction(model, as_picture(scene.pixels), prediction, targets, outputs, source, args.mapping)
    told = f"{one.path}: {prediction.seconds:.1f} s, {', '.join(map(str, targets.values()))}"
    if shrunk:
        told += f" (image of {height}x{width}, past Pillow's size limit: results at {h}x{w}, the last scale"
        told += ")" if "full_labels" in kinds else "; --save full_labels writes labels of every pixel)"
    tqdm.write(printable(told, 4000), file=sys.stdout)
    return list(targets.values())
