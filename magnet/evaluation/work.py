"""The counts, seconds and memory of one process."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from magnet import distributed
from magnet.data import Dataset, LabelledFiles
from magnet.errors import MagNetError
from magnet.evaluation.ground import NO_FULL, NO_SCALES, predict_ground
from magnet.evaluation.meter import Meter
from magnet.evaluation.metrics import frequency_weighted_iou, mean_iou
from magnet.evaluation.modes import WALKS, NotEnoughMemory, foresee_memory, predict, walk
from magnet.evaluation.scores import Scorer, confusion_of, figures, is_bad, official_classes, percent
from magnet.model.magnet import MagNet

__all__ = ["Work"]

_Counted = tuple[str, Tensor, list[float]]  # a mode, counts (scales, length), and seconds until each scale was done


class Work:
    """One process's part of an evaluation: every mode on its images, counted and measured.

    Attributes:
        records: one an image: index, name, whether it was the first, and of each mode its mean and frequency-weighted
            IoU (fractions; NaN where nothing counts) and seconds, also until each scale was done.
        labels: the predictions (H, W) uint8 for the image at hand, of the modes to ``keep``.
        notes: modes that were given up, and why.
        remarks: what else is to be said of the figures of a mode.
    """

    def __init__(
        self,
        model: MagNet,
        dataset: Dataset,
        modes: list[str],
        n_patches: int | Sequence[int | None],
        boundary_width: float,
        per_scale: bool,
        keep: Sequence[str] = (),
        ground: Collection[int] = (),
    ) -> None:
        self.model, self.dataset, self.modes, self.n_patches = model, dataset, modes, n_patches
        self.boundary = bool(boundary_width)
        self.meter = Meter(model.device)
        self.scorer = Scorer(dataset.num_classes, boundary_width, model.device)
        self._ground = frozenset(ground)
        by_scale = per_scale and not ground
        self.rows = {m: len(model.scales) if by_scale and m in WALKS else 1 for m in modes}
        self.totals = {m: self._zeros(self.rows[m]) for m in modes}
        self.peak = dict.fromkeys(modes, 0.0)
        self.notes: dict[str, str] = {"full": NO_FULL} if ground and "full" in modes else {}
        self.remarks = dict.fromkeys(WALKS, NO_SCALES) if per_scale and ground else {}
        self.records: list[dict[str, Any]] = []
        self.labels: dict[str, Tensor] = {}
        self._keep = set(keep)
        self._foreseen: set[tuple[int, int]] = set()

    def _zeros(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.scorer.length, dtype=torch.int64, device=self.model.device)

    def image(self, index: int) -> dict[str, Any]:
        """Predict and count one image in every mode; returns its record."""
        self.labels = {}
        counted: dict[str, Tensor] = {}
        measured: dict[str, dict[str, Any]] = {}
        for mode, counts, seconds in self._raster(index) if index in self._ground else self._scene(index):
            counted[mode] = counts
            self.totals[mode] += counted[mode]
            self.peak[mode] = max(self.peak[mode], self.meter.peak)
            measured[mode] = {"seconds": seconds[-1], "scale_seconds": seconds}
        official = official_classes(self.dataset.class_names)
        if counted:  # the one copy from the device to the host
            on_host = torch.stack([counts[-1] for counts in counted.values()]).cpu()
            for mode, counts in zip(counted, on_host, strict=True):
                if is_bad(counts, self.dataset.num_classes):
                    raise MagNetError(
                        f"data: the labels of '{self.dataset.name(index)}' or the predictions for it lie outside of "
                        f"the classes 0..{self.dataset.num_classes - 1}; check the classes of data and model"
                    )
                confusion = confusion_of(counts, self.dataset.num_classes)
                measured[mode]["mean_iou"] = mean_iou(confusion)
                measured[mode]["official_frequency_weighted_iou"] = frequency_weighted_iou(confusion, official)
        first = not self.records
        self.records.append({"index": index, "name": self.dataset.name(index), "first": first, "modes": measured})
        return self.records[-1]

    def _scene(self, index: int) -> Iterator[_Counted]:
        """The modes that are not given up, one after the other, on an image that is resized whole."""
        image, labels = self.dataset.load(index)
        self.scorer.set_target(labels)
        for mode in self.modes:
            if mode in self.notes:
                continue
            try:
                yield mode, *self._mode(image, mode)
            except NotEnoughMemory as error:
                self.notes[mode] = str(error)

    def _raster(self, index: int) -> Iterator[_Counted]:
        """The same on a raster, field by field, and counted by window. Seconds are with reading and writing."""
        assert isinstance(self.dataset, LabelledFiles)  # others have no rasters
        for mode in self.modes:
            if mode in self.notes:
                continue
            with self.dataset.open(index) as opened:  # anew: what one mode has read would be at hand for the next
                self.meter.start()
                with predict_ground(self.model, opened, mode, self.n_patches, self.dataset.inputs) as predicted:
                    self.meter.stop()
                    seconds = self.meter.seconds
                    counts = self.scorer.count_windows(opened.size, opened.read_labels, predicted)
            yield mode, counts[None], [seconds]

    def _mode(self, image: np.ndarray, mode: str) -> tuple[Tensor, list[float]]:
        """Counts (scales, length) and the seconds until each scale was done."""
        size = (image.shape[0], image.shape[1])
        if mode == "full" and size not in self._foreseen:
            foresee_memory(self.model, size)
            self._foreseen.add(size)
        meter, rows = self.meter, self.rows[mode]
        counts, seconds = [], []
        meter.start()
        if mode in WALKS:
            steps = walk(self.model, image, mode, self.n_patches)
            later = len(steps.plan.scales) - 1
            for number, stage in enumerate(steps):
                if rows == 1 or number == later:
                    continue
                meter.pause()
                counts.append(self.scorer.count(_bytes(stage.of(0).labels(size))))
                seconds.append(meter.seconds)
                del stage  # its memory is not the next one's
                meter.resume()
            predicted = steps.prediction.labels
        else:
            predicted = predict(self.model, image, mode)
        meter.stop()
        predicted = _bytes(predicted)
        if mode in self._keep:
            self.labels[mode] = predicted
        last = self.scorer.count(predicted)
        # a walk over a small image may have fewer scales: its result is that of the later ones too
        counts, seconds = counts[: rows - 1], seconds[: rows - 1]
        missing = rows - len(counts)
        return torch.stack([*counts, *[last] * missing]), [*seconds, *[meter.seconds] * missing]

    def results(self, records: Sequence[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
        """The figures of each mode, and its confusion matrix, of all processes, whose records are given."""
        notes = {mode: note for part in distributed.gather_objects([self.notes]) for mode, note in part.items()}
        peaks = distributed.gather_objects([self.peak])
        names = self.dataset.class_names
        results: dict[str, dict[str, Any]] = {}
        confusion: dict[str, np.ndarray] = {}
        for mode in self.modes:
            counts = distributed.all_reduce_sum(self.totals[mode]).cpu()
            if mode in notes:  # figures of some of the images would compare with nothing
                results[mode] = figures(torch.zeros_like(counts[-1]), names, self.boundary)
                results[mode] |= dict.fromkeys(("official_mean_iou", "official_frequency_weighted_iou"))
                results[mode] |= dict.fromkeys(("seconds_mean", "seconds_median", "seconds_first"))
                results[mode] |= {"timed_images": 0, "peak_memory_mib": None, "note": notes[mode]}
                continue
            results[mode] = self._figures(counts, mode, records)
            results[mode]["peak_memory_mib"] = round(max(peak[mode] for peak in peaks), 1)
            if mode in self.remarks:
                results[mode]["note"] = self.remarks[mode]
            confusion[mode] = confusion_of(counts[-1], len(names)).numpy()
        return results, confusion

    def _figures(self, counts: Tensor, mode: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = self.dataset.class_names
        every = [record["modes"][mode] for record in records]
        timed = [record["modes"][mode] for record in records if not record["first"]] or every
        weighted = [v for r in every if not math.isnan(v := r["official_frequency_weighted_iou"])]
        seconds = [r["seconds"] for r in timed]
        result = figures(counts[-1], names, self.boundary) | {
            "official_frequency_weighted_iou": percent(statistics.mean(weighted) if weighted else math.nan),
            "seconds_mean": round(statistics.mean(seconds), 4),
            "seconds_median": round(statistics.median(seconds), 4),
            "seconds_first": round(every[0]["seconds"], 4),
            "timed_images": len(timed),
        }
        if self.rows[mode] > 1:
            result["scales"] = [
                {
                    "scale": list(size),
                    **figures(row, names, self.boundary),
                    "seconds_median": round(statistics.median(r["scale_seconds"][i] for r in timed), 4),
                }
                for i, (size, row) in enumerate(zip(self.model.scales, counts, strict=True))
            ]
        return result


def _bytes(labels: Tensor) -> Tensor:
    """Labels as the data sets hold them; what does not fit stays outside of the classes."""
    return labels.clamp(max=255).to(torch.uint8)
