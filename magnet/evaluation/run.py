"""Scoring a MagNet on labelled images, each mode in turn on each image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from magnet import distributed
from magnet.data import Dataset, LabelledFiles
from magnet.data.names import compare_names
from magnet.errors import MagNetError
from magnet.evaluation.boundary import check_boundary_width
from magnet.evaluation.extremes import Extreme, Extremes, pick_extremes
from magnet.evaluation.modes import ALL_MODES, MODES, WALKS
from magnet.evaluation.scores import percent
from magnet.evaluation.seen import seen_by
from magnet.evaluation.work import Work
from magnet.model.magnet import MagNet
from magnet.model.progress import progress_of
from magnet.notices import sum_up

__all__ = ["Evaluation", "evaluate", "run_evaluation"]

_LOG = logging.getLogger("magnet")


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        results: the figures of each mode, see ``evaluate``.
        images: one record an image, in the order of the data set: its index and name, and of each mode its mean IoU
            and frequency-weighted IoU (percent; None where nothing counts) and seconds.
        confusion: (C, C) int64 of each mode, rows are labels.
        refined: the mode whose gain over "coarse" is meant below; None where one of the two was not evaluated.
        gained, lost: the images where it gained and lost most, most first; empty unless asked for.
    """

    results: dict[str, dict[str, Any]]
    images: list[dict[str, Any]]
    confusion: dict[str, np.ndarray]
    refined: str | None = None
    gained: list[Extreme] = field(default_factory=list)
    lost: list[Extreme] = field(default_factory=list)


def evaluate(
    model: MagNet,
    dataset: Dataset,
    *,
    modes: Sequence[str] = MODES,
    n_patches: int | Sequence[int | None] = 4,
    limit: int = 0,
    report: Callable[[str], None] | None = None,
    boundary_width: float = 0.02,
    per_scale: bool = True,
) -> dict[str, Any]:
    """Score a MagNet on labelled images, each mode in turn on each image.

    Inside ``magnet.distributed.session`` the images are shared out, and every process returns the figures of all.

    Args:
        model: a ``magnet.MagNet``.
        dataset: labelled images; files are read by the settings of the model's input.
        modes: of "coarse" (the first scale alone), "sliding" (the same network on patches of the last scale, without
            refinement), "magnet" (every patch of every scale), "fast" (``n_patches`` a scale) and "full" (the same
            network on the whole image, magnified as its patches of the last scale are, in one pass).
        n_patches: patches of MagNet-Fast: one number, or one for each later scale.
        limit: number of images; 0 = all.
        report: called with a line of text after each image.
        boundary_width: of the boundary IoU, see ``magnet.evaluation.boundary``: an int in pixels, a float as a fraction
            of the image diagonal (0.02 is the paper's), 0 leaves it out.
        per_scale: also score the map after each scale of "magnet" and "fast", but on rasters. That happens while the
            clock is stopped and memory is not measured.

    Returns:
        For each mode, in percent (None: nothing to count): ``mean_iou`` (over the classes present in labels or
        predictions), ``frequency_weighted_iou``, ``boundary_iou``, ``pixel_accuracy``, ``mean_class_accuracy`` (over
        the classes present in the labels); of each class ``iou``, ``boundary_iou_per_class`` and ``class_accuracy``;
        as the public release defines them ``official_mean_iou`` (absent classes score 0, a first class "unknown" is
        left out) and ``official_frequency_weighted_iou`` (mean over the images, the same classes).
        ``seconds_mean`` and ``seconds_median`` an image, from pixels in the host's memory to labels on the device,
        which is waited for; the first image of each process warms up and is not counted (``seconds_first``) unless
        there are no others; ``timed_images`` are. ``peak_memory_mib``: of the process on the CPU, allocated by torch
        on a GPU, the highest of all processes.
        ``scales``, for "magnet" and "fast": the same figures after each scale, and the seconds until there.
        ``note``: why figures are missing, such as those of a pass over the whole image that does not fit into memory.

        Rasters that are ground (see ``DataConfig.extent``) are segmented field by field, as by ``predict_raster``, and
        counted by window; their seconds are with reading and writing. Of data with any there are no figures of "full",
        nor after each scale, and no such image is among ``Evaluation.gained`` and ``lost``.

    Raises:
        MagNetError: the data have other classes than the model, or in another order, images of other channels, or a
            bad image.
        ValueError: ``boundary_width`` is no such width.
    """
    return run_evaluation(
        model,
        dataset,
        modes=modes,
        n_patches=n_patches,
        limit=limit,
        report=report,
        boundary_width=boundary_width,
        per_scale=per_scale,
    ).results


@torch.inference_mode()
def run_evaluation(
    model: MagNet,
    dataset: Dataset,
    *,
    modes: Sequence[str] = MODES,
    n_patches: int | Sequence[int | None] = 4,
    limit: int = 0,
    report: Callable[[str], None] | None = None,
    boundary_width: float = 0.02,
    per_scale: bool = True,
    extremes: int = 0,
    tell_names: bool = True,
) -> Evaluation:
    """As ``evaluate``, with all that a report needs.

    Args:
        extremes: number of images to keep, each with its coarse and refined labels, where refinement gained most, and
            where it lost most. "refined" is "magnet", or "fast" where that is not evaluated.
        tell_names: warn where the data name classes otherwise than the model; who evaluates both again has done so.
    """
    check_boundary_width(boundary_width)
    count = min(limit, len(dataset)) if limit else len(dataset)
    _check(model, dataset, modes, count, tell_names)
    dataset = seen_by(model, dataset)
    refined = next((mode for mode in WALKS if mode in modes and "coarse" in modes), None)
    keep = ("coarse", refined) if refined and extremes else ()
    ground = _ground(model, dataset, count)
    work = Work(model, dataset, list(dict.fromkeys(modes)), n_patches, boundary_width, per_scale, keep, ground)
    kept = Extremes(extremes)
    with model.evaluating():
        own = distributed.shard(range(count))
        for index in progress_of(own, shown=None if distributed.is_main() else False, desc="evaluating", unit="image"):
            record = work.image(index)
            if refined:
                gain = record["gain"] = _gain(record, refined)
                if keep and index not in ground:  # whose labels are too large to be kept, and to be shown
                    kept.add(index, gain, work.labels["coarse"], work.labels[refined])
            if report:
                report(_line(record))
    sum_up()
    records = distributed.gather_objects(work.records)
    results, confusion = work.results(records)
    gained: list[Extreme] = []
    lost: list[Extreme] = []
    if keep:
        gained, lost = pick_extremes(distributed.gather_objects(kept.kept), extremes)
    return Evaluation(results, [_public(r) for r in records], confusion, refined, gained, lost)


def _check(model: MagNet, dataset: Dataset, modes: Sequence[str], count: int, tell_names: bool) -> None:
    unknown = [m for m in modes if m not in ALL_MODES]
    if unknown or not modes:
        raise MagNetError(f"modes: expected some of {', '.join(ALL_MODES)}, got {', '.join(unknown) or 'none'}")
    own = model.num_classes
    if own is not None and own != dataset.num_classes:
        raise MagNetError(
            f"data: has {dataset.num_classes} classes ({', '.join(dataset.class_names)}), but the model {own}; "
            "evaluate on data with the model's classes"
        )
    told = compare_names(model.class_names, dataset.class_names, "the model", "the data")
    if told and tell_names and distributed.is_main():
        _LOG.warning(told)
    if count == 0:
        raise MagNetError("data: expected labelled images, got none; check the split")
    distributed.check_same("data", [count, dataset.name(0), dataset.name(count - 1)])


def _ground(model: MagNet, dataset: Dataset, count: int) -> set[int]:
    """The images that are seen field by field."""
    if not isinstance(dataset, LabelledFiles):
        return set()
    files, resolution = dataset, (model.info or {}).get("resolution")
    return {index for index in range(count) if files.is_ground(index, model.scales[-1], resolution)}


def _gain(record: dict[str, Any], refined: str) -> float:
    return float(record["modes"][refined]["mean_iou"] - record["modes"]["coarse"]["mean_iou"])


def _line(record: dict[str, Any]) -> str:
    parts = [f"{mode} {r['mean_iou'] * 100:.2f} ({r['seconds']:.1f} s)" for mode, r in record["modes"].items()]
    return f"{record['name']}: {', '.join(parts)}"


def _public(record: dict[str, Any]) -> dict[str, Any]:
    """A record as the JSON file holds it."""
    shown: dict[str, Any] = {"index": record["index"], "name": record["name"]}
    if "gain" in record:
        shown["gain"] = percent(record["gain"])
    for mode, r in record["modes"].items():
        shown[mode] = {
            "mean_iou": percent(r["mean_iou"]),
            "official_frequency_weighted_iou": percent(r["official_frequency_weighted_iou"]),
            "seconds": round(r["seconds"], 4),
        }
    return shown
