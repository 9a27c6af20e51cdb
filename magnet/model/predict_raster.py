"""Segmenting a raster of any size into files: ``MagNet.predict_raster``."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from magnet.errors import MagNetError, shown
from magnet.files.outputs import Outputs
from magnet.images import draw
from magnet.images.label_files.chosen import confident, of_classes
from magnet.images.rasters.channels import Channels
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.raster import Raster
from magnet.model.raster_results import KINDS, Looks, raster_targets, raster_writers
from magnet.model.raster_walk import RasterWalk
from magnet.model.walker import Walker
from magnet.walk.fields import OVERLAP
from magnet.walk.grid import Box
from magnet.walk.settings import WalkSettings

__all__ = ["RasterOptions", "RasterRecord", "predict_raster", "segment_raster", "stem_of"]


@dataclass(frozen=True)
class RasterOptions:
    """How a raster is segmented, and what of it is written.

    Args:
        save: some of "labels", "confidence", "polygons", "areas", "ids".
        overlap: the least share of a field, along each axis, that it has in common with the next; 0 to 0.5.
        roi: (x0, y0, x1, y1) in pixels, the only part that is segmented; the rest has no answer (255).
        channels: which bands the networks see, and which of their values are black and white.
        classes: the only classes that are answers.
        min_confidence: pixels below it have no answer.
        workers: fields under way at a time: while one is read or written, another goes through the networks.

    Raises:
        ValueError: one of these is not as it must be; begins with its name.
    """

    save: Sequence[str] = ("labels",)
    overlap: float = OVERLAP
    roi: Box | None = None
    channels: Channels = field(default_factory=Channels)
    classes: Collection[int] | None = None
    min_confidence: float = 0.0
    workers: int = 2

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.save if kind not in KINDS]
        if isinstance(self.save, str) or unknown or not self.save:
            raise ValueError(f"save: expected some of {', '.join(KINDS)}, got {shown(self.save)}; give a list of them")
        if not 0 <= self.overlap <= 0.5:
            raise ValueError(f"overlap: expected 0 to 0.5 of a field, got {shown(self.overlap)}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence: expected 0 to 1, got {shown(self.min_confidence)}")
        if self.workers < 1:
            raise ValueError(
                f"workers: expected at least 1, got {shown(self.workers)}; 2 hide reading behind computing"
            )

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
        fields: how many it was laid out in.
        resumed: how many of them were done by an earlier run.
        seconds: it took, all included.
    """

    outputs: Mapping[str, Path]
    size: tuple[int, int]
    fields: int
    resumed: int
    seconds: float


def stem_of(source: Any) -> str:
    """What the results of a raster are named by.

    Raises:
        ValueError: ``source`` has no name.
    """
    for text in (source, getattr(source, "store_path", None)):
        if isinstance(text, str | Path):
            return Path(text).stem
    raise ValueError(f"source: expected a path, to name the results by, got {type(source).__name__}; give name=")


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
    stem = name or stem_of(source)
    with ExitStack() as stack:
        raster = source if isinstance(source, Raster) else stack.enter_context(open_raster(source, page=page))
        outputs = stack.enter_context(Outputs(out, "predict_raster", overwrite=overwrite, argument="out"))
        told = f"'{raster.name}'"
        targets = raster_targets(raster, stem, outputs.folder, options.save)
        inputs = [Path(raster.name)] if Path(raster.name).exists() else []
        outputs.check(((path, told) for path in targets.values()), inputs)
        return segment_raster(model, raster, settings, options, outputs, stem, told)


def segment_raster(
    model: Walker,
    raster: Raster,
    settings: WalkSettings,
    options: RasterOptions,
    outputs: Outputs,
    stem: str,
    told: str,
) -> RasterRecord:
    """Segment an opened raster into a folder of results that is open and checked.

    Args:
        stem: the results are named by.
        told: what ``outputs`` records that they are made from.
    """
    start = time.perf_counter()
    _check_roi(options.roi, raster)
    working = outputs.folder / f".{stem}.fields"
    targets = raster_targets(raster, stem, outputs.folder, options.save)
    walk = RasterWalk(
        model,
        raster,
        settings,
        working,
        _identity(raster),
        channels=options.channels,
        wants_confidence=options.wants_confidence,
        overlap=options.overlap,
        roi=options.roi,
        workers=options.workers,
    )
    with walk:
        hidden = None if settings.progress is None else not settings.progress
        bar = tqdm(
            walk, total=len(walk.fields), initial=len(walk.fields) - len(walk.left), unit="field", disable=hidden
        )
        bar.set_description(stem[:40])
        for _ in bar:
            pass
        labels, sure = walk.labels, walk.confidence
        chosen: Any = labels
        if options.min_confidence > 0:
            assert sure is not None
            chosen = confident(chosen, sure, options.min_confidence)
        if options.classes is not None:
            chosen = of_classes(chosen, options.classes)
        assert model.num_classes is not None  # or the walk would have refused it
        looks = Looks(model.class_names, model.colours or draw.default_colours(model.num_classes))
        writers = raster_writers(raster, looks, chosen, sure)
        for kind, target in targets.items():
            with outputs.write(target, told) as temporary:
                writers[kind](temporary)
    shutil.rmtree(working)
    resumed = len(walk.fields) - len(walk.left)
    return RasterRecord(targets, raster.size, len(walk.fields), resumed, time.perf_counter() - start)


def _identity(raster: Raster) -> tuple[Any, ...]:
    """Size and time of the file, which say whether it is the one of a job that was broken off.

    What is no single file has no such mark: its jobs always begin anew.
    """
    path = Path(raster.name)
    if not path.is_file():
        return (uuid.uuid4(),)
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


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
