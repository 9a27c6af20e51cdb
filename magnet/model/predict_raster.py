"""Segmenting a raster of any size into files: ``MagNet.predict_raster``."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magnet.checks import as_number, check_count, is_int, is_list
from magnet.errors import MagNetError, shown
from magnet.files.outputs import Outputs
from magnet.images import draw
from magnet.images.label_files.blocks import NO_ANSWER
from magnet.images.label_files.chosen import confident, of_classes
from magnet.images.rasters.channels import Channels
from magnet.images.rasters.identity import is_stored, raster_mark
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.pages import page_stem
from magnet.images.rasters.raster import Raster, Resolution
from magnet.images.rasters.resolution import as_resolution, ratio_of, resolution_text
from magnet.images.wanted.masks import open_wanted
from magnet.model.class_ids import class_ids
from magnet.model.progress import progress_of
from magnet.model.raster_results import KINDS, Looks, check_packages, raster_targets, raster_writers
from magnet.model.raster_walk import RasterWalk
from magnet.model.walker import Walker
from magnet.notices import tell
from magnet.walk.field_walk import WORKERS
from magnet.walk.fields import OVERLAP
from magnet.walk.grid import Box
from magnet.walk.settings import WalkSettings
from magnet_kernels._freed_memory import return_freed_memory

__all__ = ["RasterOptions", "RasterRecord", "predict_raster", "segment_raster"]


@dataclass(frozen=True)
class RasterOptions:
    """How a raster is segmented, and what of it is written.

    Args:
        save: some of "labels", "confidence", "polygons", "areas", "ids".
        resolution: of a pixel of the model's last scale; None: the model's own, else that of the raster.
        overlap: the least share of a field, along each axis, that it has in common with the next; 0 to 0.5.
        roi: (x0, y0, x1, y1) in pixels, the only part that is segmented; the rest has no answer (255).
        mask: what says which pixels are segmented, see :meth:`magnet.MagNet.predict_raster`; None: all of them.
        tissue: only where there is tissue, see :class:`magnet.images.wanted.tissue.Tissue`.
        channels: which bands the networks see, and which of their values are black and white; None in it: the model's.
        classes: the only classes that are answers.
        min_confidence: pixels below it have no answer.
        mapping: of "ids", the class of each value, see :func:`magnet.model.class_ids.class_ids`.
        workers: groups of fields under way at a time: while one waits for what it reads, another computes.
        fields_per_pass: fields whose patches go through the networks together, a group; None: as many as fill a pass on
            a GPU, one on a CPU.

    Raises:
        ValueError: one of these is not as it must be; begins with its name.
    """

    save: Sequence[str] = ("labels",)
    resolution: Resolution | str | None = None
    overlap: float = OVERLAP
    roi: Box | None = None
    mask: Any = None
    tissue: bool = False
    channels: Channels = field(default_factory=Channels)
    classes: Collection[int] | None = None
    min_confidence: float = 0.0
    mapping: Mapping[int, int] | None = None
    workers: int = WORKERS
    fields_per_pass: int | None = None

    def __post_init__(self) -> None:
        unknown = not is_list(self.save) or [kind for kind in self.save if kind not in KINDS]
        if unknown or not self.save:
            raise ValueError(f"save: expected some of {', '.join(KINDS)}, got {shown(self.save)}; give a list of them")
        for name, most in (("overlap", 0.5), ("min_confidence", 1)):
            value = as_number(getattr(self, name))
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ValueError(f"{name}: expected 0 to {most}, got {shown(value)}; give a number in that range")
        if not isinstance(self.tissue, bool):
            raise ValueError(f"tissue: expected True or False, got {shown(self.tissue)}; give one of these")
        if self.resolution is not None:
            object.__setattr__(self, "resolution", as_resolution(self.resolution))
        object.__setattr__(self, "workers", check_count("workers", self.workers))
        if self.fields_per_pass is not None:
            object.__setattr__(self, "fields_per_pass", check_count("fields_per_pass", self.fields_per_pass))
        object.__setattr__(self, "roi", None if self.roi is None else _box("roi", self.roi))
        object.__setattr__(self, "classes", None if self.classes is None else _classes(self.classes))

    @property
    def wants_confidence(self) -> bool:
        """Whether the confidence of each pixel is needed."""
        return self.min_confidence > 0 or bool({"confidence", "polygons"} & set(self.save))


@dataclass(frozen=True)
class RasterRecord:
    """What became of a raster.

    Attributes:
        outputs: of each kind of result, the file.
        size: (H, W) of the raster.
        fields: how many it was laid out in; with a roi, a mask or tissue those that hold a part of it.
        resumed: how many of them were done by an earlier run.
        seconds: it took, all included.
    """

    outputs: Mapping[str, Path]
    size: tuple[int, int]
    fields: int
    resumed: int
    seconds: float


def _box(name: str, values: Any) -> Box:
    numbers = [as_number(one) for one in values] if is_list(values) or isinstance(values, np.ndarray) else []
    if len(numbers) != 4 or not all(is_int(one) for one in numbers):
        raise ValueError(f"{name}: expected four ints (x0, y0, x1, y1), got {shown(values)}; give whole pixels")
    return tuple(numbers)  # type: ignore[return-value]


def _classes(values: Any) -> frozenset[int]:
    countable = isinstance(values, Collection) and not isinstance(values, str | bytes)
    numbers = [as_number(one) for one in values] if countable or isinstance(values, np.ndarray) else []
    if not numbers or not all(is_int(one) and 0 <= one < NO_ANSWER for one in numbers):
        raise ValueError(
            f"classes: expected numbers of classes, got {shown(values)}; give those of the model, as [0, 3]"
        )
    return frozenset(numbers)


def _stem(source: Any, raster: Raster, name: str | None) -> str:
    """What the results are named by.

    Raises:
        ValueError: the raster is no file and there is no ``name``, or that is no name of a file.
    """
    if name is None:
        path = Path(raster.name)
        if not path.exists() or isinstance(source, np.ndarray):
            raise ValueError(
                f"name: expected a name for the results, as {type(source).__name__} has none, got None; give name="
            )
        return page_stem(path, raster.page)
    if not isinstance(name, str) or not name or Path(name).name != name or name.startswith(".") or "\0" in name:
        raise ValueError(
            f"name: expected a name that files can begin with, got {shown(name)}; give one without folders"
        )
    return name


def predict_raster(
    model: Walker,
    source: Any,
    out: str | Path,
    settings: WalkSettings,
    options: RasterOptions,
    *,
    name: str | None,
    page: int | None,
    overwrite: bool,
) -> RasterRecord:
    """See :meth:`magnet.MagNet.predict_raster`."""
    with ExitStack() as stack:
        raster = source if isinstance(source, Raster) else stack.enter_context(open_raster(source, page=page))
        stem = _stem(source, raster, name)
        outputs = stack.enter_context(Outputs(out, "predict_raster", overwrite=overwrite, argument="out"))
        mark = raster_mark(source, raster)
        told = f"'{Path(raster.name).resolve()}'" if is_stored(source, raster) else mark
        if raster.page is not None:
            told += f", page {raster.page}"
        targets = raster_targets(raster, stem, outputs.folder, options.save)
        read = [raster.name, *([options.mask] if isinstance(options.mask, str | os.PathLike) else [])]
        inputs = [Path(one) for one in read if Path(one).exists()]
        outputs.check(((path, told) for path in targets.values()), inputs)
        return segment_raster(model, raster, settings, options, outputs, stem, told, mark)


def segment_raster(
    model: Walker,
    raster: Raster,
    settings: WalkSettings,
    options: RasterOptions,
    outputs: Outputs,
    stem: str,
    told: str,
    mark: str | None = None,
    folder: Path | None = None,
    may_be_empty: bool = False,
) -> RasterRecord:
    """Segment an opened raster into a folder of results that is open and checked.

    Args:
        stem: the results are named by.
        told: what ``outputs`` records that they are made from.
        mark: what tells the raster from others; None: by its file.
        folder: where in that folder the results lie; None: on top.
        may_be_empty: where mask and tissue leave nothing, all of it is without an answer; False: that is an error.
    """
    start = time.perf_counter()
    _check_roi(options.roi, raster)
    assert settings.input_size is not None
    num_classes = model.count_classes(settings.input_size, model.inputs.channels, settings.inference)
    _check_classes(options.classes, num_classes)
    check_packages(raster, options.save)
    ids = _ids(options, model.info, num_classes)
    place = folder or outputs.folder
    working = place / f".{stem}.fields"
    targets = raster_targets(raster, stem, place, options.save)
    return_freed_memory()  # of scenes before it
    with (
        open_wanted(raster, options.mask, tissue=options.tissue) as wanted,
        RasterWalk(
            model,
            raster,
            settings,
            working,
            [mark or raster_mark(raster, raster), *([wanted.identity] if wanted else [])],
            channels=_channels(options.channels, model.inputs),
            wants_confidence=options.wants_confidence,
            ratio=_ratio(options, model, raster),
            overlap=options.overlap,
            roi=options.roi,
            wanted=wanted,
            may_be_empty=may_be_empty,
            workers=options.workers,
            fields_per_pass=options.fields_per_pass,
        ) as walk,
    ):
        done = len(walk.fields) - len(walk.left)
        for _ in progress_of(
            walk, shown=settings.progress, desc=stem[:40], unit="field", total=len(walk.fields), initial=done
        ):
            return_freed_memory()  # its pieces would add up from field to field
        labels, sure = walk.labels, walk.confidence
        chosen: Any = labels
        if options.min_confidence > 0:
            assert sure is not None
            chosen = confident(chosen, sure, options.min_confidence)
        if options.classes is not None:
            chosen = of_classes(chosen, options.classes)
        looks = Looks(model.class_names, model.colours or draw.default_colours(num_classes))
        writers = raster_writers(raster, looks, chosen, sure, pixels=walk.wanted_pixels, ids=ids, answered=labels)
        for kind, target in targets.items():
            with outputs.write(target, told) as temporary:
                writers[kind](temporary)
        walk.remove()
    resumed = len(walk.fields) - len(walk.left)
    return RasterRecord(targets, raster.size, len(walk.fields), resumed, time.perf_counter() - start)


def _channels(given: Channels, inputs: InputSettings) -> Channels:
    """Bands and values as they are given, else the model's."""
    chosen = inputs.with_given(bands=given.bands, value_range=given.value_range)
    return Channels(chosen.bands, chosen.value_range)


def _ratio(options: RasterOptions, model: Walker, raster: Raster) -> tuple[float, float]:
    """How many pixels of the raster, along rows and columns, one of the model's last scale spans; 1 where nobody says
    how large those are."""
    if options.resolution is not None:
        return ratio_of(as_resolution(options.resolution), raster)
    own = model.inputs.resolution or (model.info or {}).get("resolution")  # where models kept it before
    if own is None:
        return 1.0, 1.0
    if raster.sides is None:
        tell(
            "do not say how large their pixels are, which the model has a size for",
            raster.name,
            "does not say how large its pixels are, and those of the model are of "
            f"{resolution_text(as_resolution(own))}: they are taken to be the same",
            "give the image its place on earth, or resize it",
        )
        return 1.0, 1.0
    return ratio_of(as_resolution(own), raster)


def _ids(options: RasterOptions, info: Mapping[str, Any] | None, num_classes: int) -> dict[int, int] | None:
    """The id of each class, where they are to be written."""
    if "ids" not in options.save:
        return None
    ids = class_ids(options.mapping, info, num_classes)
    if NO_ANSWER in ids.values():
        raise MagNetError(
            f"mapping: expected values below {NO_ANSWER}, which stands for no answer in results of rasters, got it for "
            "a class; give a mapping with another value"
        )
    return ids


def _check_classes(classes: Collection[int] | None, num_classes: int) -> None:
    if classes is not None and max(classes) >= num_classes:
        raise MagNetError(
            f"classes: expected some of the model's 0 to {num_classes - 1}, got {sorted(classes)}; leave the others out"
        )


def _check_roi(roi: Box | None, raster: Raster) -> None:
    if roi is None:
        return
    x0, y0, x1, y1 = roi
    height, width = raster.size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise MagNetError(
            f"roi: expected x0,y0,x1,y1 with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, got {tuple(roi)}; "
            f"'{raster.name}' has {height}x{width} pixels (HxW)"
        )
