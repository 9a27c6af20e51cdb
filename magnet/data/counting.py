"""The labels of a run, read once before it starts, so that what cannot be meant costs no night of training."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magnet.data.labelled_files import LabelledFiles
from magnet.data.labels import Tally
from magnet.data.meaning import ImageLabels, LabelCounts, judge_scored, judge_trained
from magnet.data.names import compare_names
from magnet.data.overlap import shared_note
from magnet.data.unreadable import each
from magnet.distributed import gather_objects, is_main, shard
from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path
from magnet.files.reading import read_json

__all__ = ["COUNTS", "check_labels", "check_scored_labels", "image_labels", "keep_counts"]

_LOG = logging.getLogger("magnet")
COUNTS = "labels.json"  # in the folder of a run


def image_labels(dataset: LabelledFiles, tally: Tally) -> ImageLabels:
    """What one image's labels hold."""
    return ImageLabels(tally.classes, tally.found.values, dataset.undeclared)


def check_labels(train: Sequence[Any], val: Any, run: Path, *, go_on: bool = False) -> dict[str, Any]:
    """Count the labels of a run, and stop it where they cannot be meant.

    Every label file is read once, on all cores and shared out among the processes. The counts are kept in the run's
    folder (``keep_counts``): a run that goes on with the same files reads none.

    Args:
        train: data sets to train on. Those that are not ``LabelledFiles`` (generated scenes) are not counted.
        val: data set to validate on.
        run: folder of the run.
        go_on: whether the run builds on what is in the folder, whose class names must then be these.

    Returns:
        What ``keep_counts`` writes.

    Raises:
        MagNetError: a bad label file, a class without a pixel, pixels that are ignored undeclared, other class names
            than before.
    """
    kept = _kept(run / COUNTS, go_on)
    if go_on and (names := kept.get("class_names") or _of_model(run)):
        told = compare_names(names, val.class_names, f"the run '{run}'", "its data")
        if told:
            _LOG.warning(told)
    content: dict[str, Any] = {"class_names": list(val.class_names)}
    files = [dataset for dataset in train if isinstance(dataset, LabelledFiles)]
    if len(files) < len(train) or not isinstance(val, LabelledFiles):
        return content
    if is_main() and (told := shared_note([*files, val])):
        _LOG.warning(told)
    content["files"] = _fingerprint([*files, val])
    if kept.get("files") == content["files"]:
        counts = [LabelCounts(**kept[name]) for name in ("train", "val")]
    else:
        counts = [sum((_count(d) for d in files[1:]), _count(files[0])), _count(val)]
    content |= {"train": dataclasses.asdict(counts[0]), "val": dataclasses.asdict(counts[1])}
    _tell(judge_trained(counts[0], val.accept), judge_scored(counts[1], val.split, val.no_labels))
    return content


def keep_counts(run: Path, content: dict[str, Any]) -> None:
    """Write what ``check_labels`` found into the folder of a run."""
    with atomic_path(run / COUNTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def check_scored_labels(dataset: Any, limit: int = 0) -> None:
    """Stop an evaluation whose scores would say nothing: see ``judge_scored``. Reads the label files.

    Raises:
        MagNetError: a bad label file, or labels that cannot be meant.
    """
    if isinstance(dataset, LabelledFiles):
        _tell(judge_scored(_count(dataset, limit), dataset.split, dataset.no_labels))


def _tell(*verdicts: Any) -> None:
    wrong = [message for verdict in verdicts for message in verdict.wrong]
    if wrong:
        raise MagNetError("; besides, ".join(wrong))
    if is_main():
        for verdict in verdicts:
            for message in verdict.doubtful:
                _LOG.warning(message)


def _count(dataset: LabelledFiles, limit: int = 0) -> LabelCounts:
    """Counts of all processes' shares, each of which reads its own."""
    own = shard(range(min(limit, len(dataset)) if limit else len(dataset)))

    def look(number: int) -> ImageLabels:
        tally = dataset.count_labels(own[number])
        dataset.check_values(tally.found)
        return image_labels(dataset, tally)

    parts = gather_objects(
        [LabelCounts.of(dataset.class_names, each(look, len(own), f"reading {dataset.split} labels"))]
    )
    return sum(parts[1:], parts[0])


def _kept(path: Path, go_on: bool) -> dict[str, Any]:
    """What an earlier start of the run counted, as rank 0 reads it; empty where there is nothing.

    Raises:
        MagNetError: it is damaged, and the run builds on it.
    """
    content: Any = {}
    if is_main() and path.is_file():
        try:
            content = read_json(path, "data")
            good = isinstance(content, dict) and isinstance(content["class_names"], list)
        except (OSError, ValueError, KeyError):
            good = False
        if not good and go_on:
            raise MagNetError(
                f"data: '{path}', which holds the classes of the run, is damaged; take it away if the classes are the "
                "same as before, or start the run anew"
            )
        content = content if good else {}
    found: dict[str, Any] = gather_objects([content] if is_main() else [])[0]
    return found


def _of_model(run: Path) -> list[str] | None:
    """The class names of the model that a run without ``labels.json`` ended with."""
    with contextlib.suppress(OSError, ValueError, MagNetError):
        config = read_json(run / "model" / "config.json", "model")
        names = config.get("class_names") if isinstance(config, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return None


def _fingerprint(datasets: Sequence[LabelledFiles]) -> str:
    """Changes with the label files (by name, size and time) and with what their values mean."""
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(repr((dataset.split, dataset.class_names, dataset.meaning, sorted(dataset.accept))).encode())
        for pair in dataset.pairs:
            for path in pair.labels:
                status = path.stat()
                digest.update(repr((str(path), status.st_size, status.st_mtime_ns)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
