"""What a job of ``magnet predict`` is: which results its options make, what its inputs are like, what of it is done."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from magnet.cli.predict_inputs import Input
from magnet.cli.predict_parts import AUTO, auto_part, share_out
from magnet.cli.predict_rasters import may_be_placed
from magnet.files.manifest import Manifest
from magnet.files.parts import Part
from magnet.files.reading import sha256
from magnet.files.trees import tree_mark
from magnet.model.pretrained import CONFIG, WEIGHTS

__all__ = ["Job", "job_hash", "summary", "take_part", "what_is_done"]

# what says where, by which machine and which of the inputs, not what comes out; any other option decides results
_NO_MATTER = ("images", "model", "out", "device", "workers", "corrupt", "overwrite", "part", "recursive", "trust")
_OF_SEVERAL = (".vms", ".vmu", ".dcm")  # slides that other files belong to, whatever those are called


class Job(NamedTuple):
    """Inputs of a run of ``magnet predict``.

    hash: of model and options. inputs: all of them. states: what each of them is like, as a manifest has it. own: those
    that this process does. part: which part of the job that is; None: all of it.
    """

    hash: str
    inputs: list[Input]
    states: Mapping[Path, Mapping[str, Any] | None]
    own: list[Input]
    part: Part | None


def job_hash(args: argparse.Namespace, model: Path) -> str:
    """A hash of all that decides the results of an input beside the input: the files of the model and the options."""
    options = {name: value for name, value in vars(args).items() if name not in _NO_MATTER}
    options["save"] = sorted(args.save or ())  # in whatever order they were given
    if args.mask is not None:
        options["mask"] = [Path(args.mask).name, _state(Path(args.mask), {}, is_raster=True)]
    files = [sha256(path) if (path := model / name).is_file() else None for name in (CONFIG, WEIGHTS)]
    return hashlib.sha256(json.dumps([files, options], sort_keys=True).encode()).hexdigest()[:16]


def take_part(args: argparse.Namespace, inputs: Sequence[Input], model: Path) -> Job:
    """The job of a command line, and of its inputs those of its part.

    Raises:
        ArgumentError: ``--part auto`` where nobody has numbered the processes.
    """
    name, listed = job_hash(args, model), list(inputs)
    states = _states(listed, ground=args.extent == "ground")
    if args.part is None:
        return Job(name, listed, states, listed, None)
    part: Part = args.part if args.part != AUTO else auto_part(os.environ)
    sizes = [(one.name, _size(one.path)) for one in listed]
    plan = hashlib.sha256(json.dumps([name, sorted(sizes)]).encode()).hexdigest()[:16]
    own = [listed[number] for number in share_out(sizes, part.of)[part.number - 1]]
    return Job(name, listed, states, own, part._replace(plan=plan))


def what_is_done(job: Job, manifest: Manifest, sources: Mapping[Path, str]) -> dict[Path, list[Path]]:
    """Of each own input that is done, by this run or an earlier one, its results."""
    found = ((one.path, manifest.done(one.name, job.states[one.path], sources[one.path])) for one in job.own)
    return {path: results for path, results in found if results is not None}


def summary(job: Job, done: int) -> str:
    """What is left to do, in words; "" where that is everything, as the user expects."""
    told = f"{done} done before, {len(job.own) - done} to do"
    if job.part is not None:
        return f"part {job.part.number} of {job.part.of}: {len(job.own)} of {len(job.inputs)} inputs, {told}"
    return told if done else ""


def _size(path: Path) -> int:
    try:
        return tree_mark(path)[1] if path.is_dir() else path.stat().st_size
    except OSError:  # told when its turn comes
        return 0


def _states(inputs: Sequence[Input], *, ground: bool) -> dict[Path, Mapping[str, Any] | None]:
    """Of each input its size and time, and those of the files that belong to it; None where that cannot be known.

    Seen before anything is read: what changes while it is read is done again by the next run.
    """
    folders: dict[Path, dict[str, list[Path]]] = {}
    return {one.path: _state(one.path, folders, ground or may_be_placed(one.path)) for one in inputs}


def _state(path: Path, folders: dict[Path, dict[str, list[Path]]], is_raster: bool) -> Mapping[str, Any] | None:
    try:
        status = path.stat()
        if path.is_dir():  # of zarr
            mark, size = tree_mark(path)
            return {"size": size, "time": status.st_mtime, "tree": mark}
        state: dict[str, Any] = {"size": status.st_size, "time": status.st_mtime}
        if not is_raster:
            return state
        if path.suffix.lower() in _OF_SEVERAL:
            return None
        state["beside"] = [
            [one.name, (status := one.stat()).st_size, status.st_mtime]
            for one in _beside(path, folders)
            if one.is_file()
        ]
        return state
    except OSError:
        return None


def _beside(path: Path, folders: dict[Path, dict[str, list[Path]]]) -> list[Path]:
    """The files that belong to a raster: masks, overviews, a world file, the folder of an MRXS slide."""
    names = folders.get(path.parent)
    if names is None:  # once for all rasters of a folder
        names = folders[path.parent] = {}
        for one in sorted(path.parent.iterdir()):
            names.setdefault(one.name.partition(".")[0], []).append(one)
    same = names.get(path.name.partition(".")[0], [])
    found = [one for one in same if one != path and (one.stem == path.stem or one.name.startswith(f"{path.name}."))]
    if path.suffix.lower() == ".mrxs" and path.with_suffix("").is_dir():
        found += sorted(path.with_suffix("").iterdir())
    return found
