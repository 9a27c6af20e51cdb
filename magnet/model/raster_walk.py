"""The walk over a raster: field by field, in bounded memory, onto working files that outlive the process."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.files.atomic import remove_leftovers
from magnet.files.journal import Journal
from magnet.images.label_files.block_file import BlockFile
from magnet.images.label_files.blocks import NO_ANSWER
from magnet.images.match_colours import OwnStatistics, own_statistics
from magnet.images.rasters.channels import Channels, coarsest_values
from magnet.images.rasters.declared_range import tell_range
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import TiledRaster
from magnet.images.tensors import normalize, resize
from magnet.images.wanted.wanted import Wanted
from magnet.model.digest import weights_digest
from magnet.model.walker import Walker
from magnet.walk.ahead import readers
from magnet.walk.field_views import FieldViews, first_look, read_box, valid_in
from magnet.walk.field_walk import WORKERS, Turns, each_group
from magnet.walk.fields import OVERLAP, Field, lay_out
from magnet.walk.grid import Box
from magnet.walk.maps import labels_at, upsample
from magnet.walk.plan import images_per_pass, plan_walk
from magnet.walk.settings import WalkSettings
from magnet.walk.views import JoinedViews
from magnet_kernels import confidence

__all__ = ["RasterWalk"]

_FILES = ("journal.jsonl", "labels.blocks", "confidence.blocks")


class RasterWalk:
    """The walk over a raster, to be iterated over: yields each field that was looked at, or had no valid pixel.

    Args:
        model: a MagNet of at most 255 classes.
        raster: to be segmented; each field is one of the last scale.
        settings: of the walk; ``follow_image`` does not matter, as every field has the size of the last scale.
        folder: for the working files, made if it is not there. A walk that was broken off is gone on with.
        identity: what the raster was made from, and whatever else decides the result beside model and settings.
        channels: which bands and values.
        wants_confidence: keep the confidence of each pixel, too.
        ratio: how many pixels of the raster, along rows and columns, one of the model's last scale spans.
        overlap: least share of a field that it has in common with the next.
        roi: (x0, y0, x1, y1), the only part that is wanted.
        wanted: which pixels of it are; None: all. Its ``identity`` is for the caller to pass.
        may_be_empty: no pixel at all may be wanted.
        workers: groups of fields that are under way at a time.
        fields_per_pass: fields that go through the networks together, a group; which ones follows from the layout
            alone. None: as many as fill a pass of the networks on a GPU, one on a CPU.

    Attributes:
        fields: those that hold a wanted pixel of the roi.
        wanted_pixels: how many there are.
        left: those not done when it was opened, and all others of their groups.
        labels: of the raster, 255 where there is no answer; to be read when the walk has come to its end.
        confidence: 0..255 for 0..1; None where it is not wanted.
    """

    def __init__(
        self,
        model: Walker,
        raster: Raster,
        settings: WalkSettings,
        folder: str | os.PathLike[str],
        identity: Sequence[Any],
        *,
        channels: Channels | None = None,
        wants_confidence: bool = False,
        ratio: tuple[float, float] = (1.0, 1.0),
        overlap: float = OVERLAP,
        roi: tuple[int, int, int, int] | None = None,
        wanted: Wanted | None = None,
        may_be_empty: bool = False,
        workers: int = WORKERS,
        fields_per_pass: int | None = None,
    ) -> None:
        assert settings.input_size is not None
        classes = model.count_classes(settings.input_size, model.inputs.channels, settings.inference)
        if classes > NO_ANSWER:
            raise MagNetError(
                f"model: expected at most {NO_ANSWER} classes to segment a raster, whose labels are bytes, got "
                f"{classes}; segment images that are one field (predict)"
            )
        if settings.compat != "paper":
            raise MagNetError(
                "compat: expected 'paper' to segment a raster field by field, got 'official'; convert the model, or "
                "segment images that are one field"
            )
        self._model, self._raster, self._settings = model, raster, settings.changed(progress=False)
        channels = channels or Channels()
        self._to_tensor = channels.of(raster, model.inputs.channels)
        self._workers = workers
        self._roi = roi or (0, 0, raster.size[1], raster.size[0])
        self._plan = plan_walk(settings.changed(follow_image=False), settings.scales[-1])
        height, width = settings.scales[-1]
        self._field = field = max(round(height * ratio[0]), 1), max(round(width * ratio[1]), 1)
        step = _step(raster, field, self._plan.scales)
        tile = raster.tiles[0] if isinstance(raster, TiledRaster) else (1, 1)
        every = lay_out(raster.size, field, overlap=overlap, step=step, tile=tile)
        self._only = every[0] if len(every) == 1 else None
        within = {one: _common(one.own, self._roi) for one in every if _meets(one.own, self._roi)}
        self._wanted = wanted
        counts = {one: _count(wanted, box) for one, box in within.items()}
        self.fields = [one for one in within if counts[one]]
        self.wanted_pixels = sum(counts.values())
        if wanted is not None and not self.fields and not may_be_empty:
            raise MagNetError(wanted.none_wanted)
        if self.fields:
            tell_range(raster, channels, self._to_tensor)
        together = fields_per_pass or images_per_pass(settings, self._plan, model.device)
        with ExitStack() as stack:
            self._folder = place = Path(folder)
            _check_folder(place)
            others = field, overlap, self._roi, wants_confidence, together
            job = _job(model, raster, self._settings, identity, self._to_tensor, *others)
            names = {"labels": NO_ANSWER, "confidence": 0} if wants_confidence else {"labels": NO_ANSWER}
            self._journal = stack.enter_context(_journal(place, job, names))
            files = {
                name: stack.enter_context(_block_file(place / f"{name}.blocks", raster.size, fill))
                for name, fill in names.items()
            }
            self.labels, self.confidence = files["labels"], files.get("confidence")
            self._stack = stack.pop_all()
        groups = (self.fields[i : i + together] for i in range(0, len(self.fields), together))
        # a group of which some are done is done again as a whole: how a pass rounds depends on all that is in it
        self._groups = [one for one in groups if any(field.number not in self._journal.done for field in one)]
        self.left = [field for group in self._groups for field in group]

    def close(self) -> None:
        """Close the working files; they stay where they are."""
        self._stack.close()

    def remove(self) -> None:
        """Close the working files and remove them."""
        self.close()
        for name in _FILES:
            (self._folder / name).unlink(missing_ok=True)
        self._folder.rmdir()

    def __enter__(self) -> RasterWalk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Field]:
        turns, colours = Turns(), self.colours()
        # evaluating once: each walk alone would give the networks back while another uses them
        with self._model.evaluating(), readers() as pool:
            groups = each_group(
                self._groups,
                prepare=lambda group: [self._open(field, pool, turns, colours) for field in group],
                compute=lambda opened: self._compute(opened, turns),
                write=self._write,
                workers=self._workers,
                stop=turns.stop,
            )
            with closing(groups):
                for group in groups:
                    yield from group

    def colours(self) -> OwnStatistics | None:
        """What ``match_colours`` judges the colours by: those of the whole raster, at its coarsest level.

        A field of water alone would be taken for a badly lit one. A raster of one field is judged as the image that it
        is, by what is read of it first. None: they are not matched.
        """
        if not self._settings.match_colours:
            return None
        if self._only is not None:
            stored, valid = read_box(self._raster, self._only.box, first_look(self._plan))
            pixels = self._to_tensor(stored, valid)[None]
            if valid.any() and not valid.all():
                pixels = pixels[..., torch.from_numpy(valid)][:, :, None]
            return own_statistics(pixels)
        values = coarsest_values(self._raster, range(self._raster.channels))
        return own_statistics(self._to_tensor(values[None])[None]) if len(values) else None

    def _valid_in(self, box: Box) -> np.ndarray | None:
        """(h, w) bool, the pixels of a box that hold a value and are wanted; None: all are."""
        valid = valid_in(self._raster, box)
        if self._wanted is None:
            return valid
        wanted = self._wanted.read(box)
        return wanted if valid is None else valid & wanted

    def _open(self, field: Field, pool: Executor, turns: Turns, colours: OwnStatistics | None) -> _Opened:
        """A field, what its walk begins with being read."""
        model, settings, own = self._model, self._settings, _common(field.own, self._roi)

        def convert(images: Tensor) -> Tensor:
            return normalize(model.matched(images, settings, colours))

        views = FieldViews(self._raster, self._to_tensor, field.box, convert, model.device, pool, turns.result)

        def begin() -> np.ndarray | None:
            valid = self._valid_in(own)
            if valid is None or valid.any():
                views.read_whole(self._plan)
            return valid

        return _Opened(field, own, views, pool.submit(begin))

    def _compute(self, group: Sequence[_Opened], turns: Turns) -> list[_Walked]:
        valid = [one.valid.result() for one in group]
        seen = [one for one, there in zip(group, valid, strict=True) if there is None or there.any()]
        maps: Iterator[tuple[np.ndarray, np.ndarray | None]] = iter(())
        if seen:
            with turns.computing(), torch.inference_mode():
                maps = iter(self._walk([one.views for one in seen], turns))
        walked = []
        for one, there in zip(group, valid, strict=True):
            if there is not None and not there.any():
                walked.append(_Walked(one.field, one.own, None, None))
                continue
            labels, sure = next(maps)
            x0, y0 = one.field.box[:2]
            part = np.s_[one.own[1] - y0 : one.own[3] - y0, one.own[0] - x0 : one.own[2] - x0]
            labels = _kept(labels[part], there, NO_ANSWER)
            walked.append(_Walked(one.field, one.own, labels, None if sure is None else _kept(sure[part], there, 0)))
        return walked

    def _walk(self, group: Sequence[FieldViews], turns: Turns) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Labels (h, w) uint8 of each field, and their confidence where it is wanted."""
        views = group[0] if len(group) == 1 else JoinedViews(group)
        size, resizes = self._plan.scales[-1], self._field != self._plan.scales[-1]
        labels_only = self.confidence is None and not resizes
        (last,) = deque(self._model._stages(self._settings, self._plan, views, labels_only=labels_only), maxlen=1)
        if last.maps is None:
            assert last.labels is not None
            return [(one, None) for one in turns.fetch(last.labels).numpy()]
        found: list[tuple[np.ndarray, np.ndarray | None]] = []
        for number in range(len(group)):
            maps = upsample(last.maps[number : number + 1], size)
            labels = turns.fetch(labels_at(maps[0], self._field).byte()).numpy()
            if self.confidence is None:
                found.append((labels, None))
                continue
            sure = resize(confidence(maps), self._field)[0, 0]  # that of the model's pixels
            found.append((labels, turns.fetch((sure * 255).round().byte()).numpy()))
        return found

    def _write(self, group: Sequence[_Walked]) -> None:
        for one in group:
            if one.labels is not None:
                self.labels.write(one.own, one.labels)
            if one.confidence is not None:
                assert self.confidence is not None
                self.confidence.write(one.own, one.confidence)
        if any(one.labels is not None for one in group):
            if self.confidence is not None:
                self.confidence.flush()
            self.labels.flush()
        for one in group:
            self._journal.add(one.field.number)


class _Opened(NamedTuple):
    field: Field
    own: Box  # the part of it that is wanted
    views: FieldViews
    valid: Future[np.ndarray | None]  # of ``own``; None: all


class _Walked(NamedTuple):
    field: Field
    own: Box
    labels: np.ndarray | None  # of ``own``; None: there is no valid pixel
    confidence: np.ndarray | None


def _check_folder(folder: Path) -> None:
    """Make the folder of the working files, which must hold nothing else.

    Raises:
        MagNetError: it does, or is no folder.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise MagNetError(f"out: expected '{folder}' to be a folder for working files, got a file or a link; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    foreign = sorted(
        path.name for path in folder.iterdir() if path.name not in _FILES or path.is_symlink() or not path.is_file()
    )
    if foreign:
        raise MagNetError(
            f"out: expected nothing but working files in '{folder}', got '{foreign[0]}'; move it away, or choose "
            "another folder for the results"
        )


def _journal(folder: Path, job: dict[str, Any], names: dict[str, int]) -> Journal:
    """The journal of the job; working files of another one are removed."""
    journal = Journal(folder / _FILES[0], job)
    if not journal.done or not all((folder / f"{name}.blocks").is_file() for name in names):
        for name in _FILES[1:]:
            (folder / name).unlink(missing_ok=True)
        journal.restart()
    return journal


def _block_file(path: Path, size: Size, fill: int) -> BlockFile:
    if path.exists():
        return BlockFile.open(path, size, fill=fill)
    return BlockFile.create(path, size, fill=fill)


def _job(
    model: Walker,
    raster: Raster,
    settings: WalkSettings,
    identity: Sequence[Any],
    to_tensor: Any,
    *others: Any,
) -> dict[str, Any]:
    """All that decides the result; of the networks a digest."""
    return {
        "model": weights_digest(model),
        "settings": repr(settings),
        "raster": [repr(raster), *map(str, identity)],
        "channels": repr(to_tensor),
        "others": repr(others),
    }


def _step(raster: Raster, field: Size, scales: Sequence[Size]) -> int:
    """A number of pixels that fields begin at multiples of, to lie on whole pixels of the levels that are read."""
    coarsest = max(field[0] / scales[0][0], field[1] / scales[0][1])
    whole = [int(rows) for rows, columns in raster.factors if rows == columns == int(rows) and rows <= coarsest]
    return max(whole, default=1)


def _meets(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    x0, y0, x1, y1 = _common(one, other)
    return x0 < x1 and y0 < y1


def _common(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _count(wanted: Wanted | None, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a box are wanted."""
    if wanted is not None:
        return int(wanted.read(box).sum())
    return (box[2] - box[0]) * (box[3] - box[1])


def _kept(values: np.ndarray, valid: np.ndarray | None, fill: int) -> np.ndarray:
    return values if valid is None else np.where(valid, values, np.uint8(fill))
