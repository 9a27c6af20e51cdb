"""The modes on rasters that are seen field by field: labels in a working file on disc, in bounded memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from magnet.bounds import Box
from magnet.data.labelled_raster import LabelledRaster
from magnet.distributed import is_main
from magnet.evaluation.modes import WALKS, density, patches_of, predict_pixels
from magnet.images.label_files.blocks import NO_ANSWER, Blocks
from magnet.images.match_colours import OwnStatistics
from magnet.images.rasters.channels import Channels
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.resolution import as_resolution, ratio_of
from magnet.model.magnet import MagNet
from magnet.model.progress import progress_of
from magnet.model.raster_walk import RasterWalk
from magnet.walk.field_views import first_look, read_box, valid_in
from magnet.walk.plan import plan_walk
from magnet_kernels._freed_memory import return_freed_memory

__all__ = ["NO_FULL", "NO_SCALES", "predict_ground"]

NO_FULL = "no figures: some of the images are rasters seen field by field, which no single pass shows"
NO_SCALES = "no figures after each scale: some of the images are rasters seen field by field"


@contextlib.contextmanager
def predict_ground(
    model: MagNet,
    opened: LabelledRaster,
    mode: str,
    n_patches: int | Sequence[int | None],
    inputs: InputSettings,
) -> Iterator[Blocks]:
    """Segment a raster in one of the modes, and lend its labels, 255 where the image holds no value.

    Its fields are those that ``MagNet.predict_raster`` lays out, and in the modes that are walks its labels, too.

    Args:
        model: in evaluation mode.
        opened: the raster.
        mode: as of ``magnet.evaluation.evaluate``, but "full".
        n_patches: of "fast".
        inputs: how the networks see the raster, as ``seen_by`` made them of data and model.

    Raises:
        MagNetError: the raster is damaged, its bands or resolution do not fit, or the model has ``compat="official"``.
    """
    raster = opened.raster
    ratio, channels = _ratio(model, raster, inputs), Channels(inputs.bands, inputs.value_range)
    settings = model.settings.changed(n_patches=patches_of(mode, n_patches) if mode in WALKS else 0)
    with (
        tempfile.TemporaryDirectory(prefix="magnet-eval-") as folder,
        RasterWalk(model, raster, settings, folder, [mode], channels=channels, ratio=ratio) as walk,
    ):
        fields = iter(walk) if mode in WALKS else _each(model, opened, mode, walk)
        shown = None if is_main() else False
        for _ in progress_of(fields, shown=shown, total=len(walk.fields), desc=mode, unit="field", leave=False):
            return_freed_memory()  # its pieces would add up from field to field
        yield walk.labels


def _ratio(model: MagNet, raster: Raster, inputs: InputSettings) -> tuple[float, float]:
    """How many pixels of the raster, along rows and columns, one of the last scale spans; 1 where nobody says how large
    those are."""
    resolution = inputs.resolution
    if resolution is None and raster.sides is not None:
        resolution = (model.info or {}).get("resolution")  # where models kept it before
    return (1.0, 1.0) if resolution is None else ratio_of(as_resolution(resolution), raster)


def _each(model: MagNet, opened: LabelledRaster, mode: str, walk: RasterWalk) -> Iterator[None]:
    """Each field in a mode that is no walk, its labels written to those of ``walk``."""
    colours = walk.colours()
    for field in walk.fields:
        x0, y0, x1, y1 = field.own
        valid = valid_in(opened.raster, field.own)
        if valid is None or valid.any():
            labels = _labels(model, opened, mode, field.box, colours)
            part = labels[y0 - field.box[1] : y1 - field.box[1], x0 - field.box[0] : x1 - field.box[0]]
            walk.labels.write(field.own, part if valid is None else np.where(valid, part, np.uint8(NO_ANSWER)))
        yield


def _labels(model: MagNet, opened: LabelledRaster, mode: str, box: Box, colours: OwnStatistics | None) -> np.ndarray:
    """(h, w) uint8 labels of one field, of which the level is read that serves the mode."""
    plan = plan_walk(model.settings.changed(follow_image=False), model.scales[-1])
    size = first_look(plan) if mode == "coarse" else density(plan)[0]
    stored, valid = read_box(opened.raster, box, size)
    pixels = model.matched(opened.to_tensor(stored, valid)[None], seen=colours).to(model.device)
    field = box[3] - box[1], box[2] - box[0]
    labels = predict_pixels(model, pixels, mode, plan, field)
    return labels.byte().cpu().numpy()
