"""A model becomes a file for other programs, which is tried before it is there."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magnet.bounds import MAX_SCALE_PIXELS, Size
from magnet.checks import check_size
from magnet.errors import ArgumentError, MagNetError, shown
from magnet.export.aoti_file import check_compiler, run_aoti, write_aoti
from magnet.export.metadata import describe
from magnet.export.onnx_file import check_packages, run_onnx, write_onnx
from magnet.export.program import check_settings, frozen, trace
from magnet.export.pt2_file import run_pt2, write_pt2
from magnet.export.trial import agreement, batch_of, check_agreement, fitted, generated
from magnet.files.outputs import Outputs
from magnet.images.inputs import floats_of, pixels_of, size_of
from magnet.images.rasters.scenes import read_scene
from magnet.model.digest import weights_digest
from magnet.model.magnet import MagNet

__all__ = ["FORMATS", "ExportRecord", "export_model"]

FORMATS = {"pt2": ".pt2", "aoti": "_aoti.pt2", "onnx": ".onnx"}  # and how the names of their files end
_LAST_STEPS = {
    "pt2": "now it is written and tried",
    "aoti": "now it is compiled, which takes longest",
    "onnx": "now it is translated, written and tried",
}


@dataclass(frozen=True)
class ExportRecord:
    """What was exported.

    Attributes:
        path: of the file.
        format: "pt2", "aoti" or "onnx".
        size: (H, W) of the images that it takes.
        agreement: the share of the pixels of the image that it was tried with which have the label that ``predict``
            gives; at least 0.9999.
        seconds: time it took.
    """

    path: Path
    format: str
    size: Size
    agreement: float
    seconds: float


def export_model(
    model: MagNet,
    out: str | os.PathLike[str],
    *,
    format: str,
    size: Sequence[int] | None = None,
    image: str | os.PathLike[str] | Image.Image | np.ndarray | Tensor | None = None,
    name: str = "model",
    overwrite: bool = False,
    progress: bool = False,
) -> ExportRecord:
    """Write a model as one file that other programs run: the whole walk over one image of one size.

    The file takes ``image``, (1, channels, H, W) float32 in [0, 1], which it normalises itself, and gives ``labels``
    (1, H, W), uint8 (int64 of more than 256 classes), and ``probabilities`` (1, C, h, w) of the last scale. It is run,
    and its labels compared with those of ``predict``, before it is moved to its place. It holds a description of
    itself, ``magnet_model.json``.

    Args:
        model: in any mode; runs where it is, and so does the file.
        out: folder for the file, made if it is not there.
        format: "pt2": a program of torch.export; "aoti": a package of AOTInductor, compiled for the processor of this
            machine, which C++ runs without Python; "onnx": for onnxruntime and others, needs the extra [onnx].
        size: (H, W) of the images; None: that of ``image``, or without one that of the last scale.
        image: what the file is tried with, as ``predict`` takes it, resized to ``size``; None: a drawn street scene.
        name: what the file's name begins with: ``name_HxW`` and the ending of the format.
        overwrite: replace a file that is there and was not written by this from a model of the same weights.
        progress: say on stderr that the work begins, once every argument is found to be right.

    Returns:
        An :class:`ExportRecord`.

    Raises:
        MagNetError: the model cannot be traced or compiled, a package or the compiler is missing, the file's labels
            differ from those of ``predict`` on more than 0.01% of the pixels, or the folder cannot be written to, or
            holds another file of that name.
        TypeError, ValueError: an argument is not as above.
    """
    start = time.perf_counter()
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {shown(format)}; choose one of them")
    if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]{1,100}", name) or name.startswith("."):
        raise ValueError(f"name: expected the beginning of a file name, got {shown(name)}; leave out folders and dots")
    wanted = None if size is None else check_size("size", size, most=MAX_SCALE_PIXELS)
    _check_machine(model, format)
    pixels = None if image is None else _pixels(model, image, wanted)
    wanted = wanted or (size_of(pixels) if pixels is not None else model.settings.scales[-1])
    check_settings(model, wanted)
    seen = generated(model.inputs.channels, wanted) if pixels is None else fitted(pixels, wanted)
    height, width = wanted
    others = (model.settings.changed(progress=None), model.inputs, model.class_names, model.colours)
    digests = weights_digest(model)[:16], hashlib.sha256(repr(others).encode()).hexdigest()[:16]
    source = (
        f"the model '{name}' with the weights {digests[0]} and settings {digests[1]} for images of {height}x{width}"
    )
    with Outputs(out, "magnet export", overwrite=overwrite, argument="out") as outputs:
        target = outputs.folder / f"{name}_{height}x{width}{FORMATS[format]}"
        outputs.check([(target, source)])
        if progress:
            print(
                f"exporting as {format}: half a minute to some minutes, more with many patches",
                file=sys.stderr,
                flush=True,
            )
        with frozen(model):
            with model.evaluating():
                program = trace(model, wanted, checked=format != "onnx")
            if progress:
                print(f"traced, {_LAST_STEPS[format]}", file=sys.stderr, flush=True)
            try:
                with outputs.write(target, source) as temporary:
                    labels = _written(model, program, format, wanted, temporary, batch_of(seen.to(model.device)))
                    share = agreement(model, labels[0], seen)
                    check_agreement(share, format)
            except OSError as error:
                named, reason = error.filename or target, error.strerror or error
                raise MagNetError(
                    f"out: '{named}' could not be written to ({reason}); choose a folder with room"
                ) from error
    return ExportRecord(target, format, wanted, share, time.perf_counter() - start)


def _check_machine(model: MagNet, format: str) -> None:
    """Refuse, before any work, what cannot be made here."""
    if format == "aoti":
        check_compiler()
    if format == "onnx":
        check_packages()
        if model.device.type != "cpu":
            raise ArgumentError(
                f"format: expected a model on the CPU to make an onnx file, got one on {model.device}; move it with "
                "model.cpu(), as the file runs on GPUs as well"
            )


def _pixels(model: MagNet, image: Any, size: Size | None) -> Tensor:
    """(channels, H, W) in [0, 1] of what ``predict`` takes."""
    if isinstance(image, (str, os.PathLike)):
        image = read_scene(image, model.inputs, lambda own: size or own)
    return floats_of(pixels_of(image, model.inputs), torch.device("cpu"))


def _written(
    model: MagNet, program: torch.export.ExportedProgram, format: str, size: Size, path: Path, images: Tensor
) -> Tensor:
    """Write a program to ``path``; the labels that the file gives."""
    metadata = describe(model, size, format)
    if format == "pt2":
        write_pt2(program, metadata, path)
        return run_pt2(path, images)
    if format == "aoti":
        write_aoti(program, metadata, path)
        return run_aoti(path, images)
    write_onnx(program, metadata, path, model.plan(size).patch_size)
    return run_onnx(path, images)
