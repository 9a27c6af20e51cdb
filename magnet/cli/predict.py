"""``magnet predict``: segment images from the command line."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from magnet.bounds import AMP
from magnet.cli.arguments import (
    AMP_HELP,
    TRUST_HELP,
    Parser,
    add_walk_options,
    device_name,
    kernel_size,
    n_patches,
    n_points,
    walk_options,
)
from magnet.cli.models import load_model
from magnet.cli.predict_inputs import Input, find_inputs
from magnet.cli.predict_job import Job, summary, take_part, what_is_done
from magnet.cli.predict_parts import AUTO, PART_HELP, local_rank, part_of
from magnet.cli.predict_rasters import add_raster_options, check_kinds, open_ground, raster_options
from magnet.cli.predict_report import PAGE, write_page
from magnet.cli.predict_scenes import SAVE, predict_scene, scene_kinds, targets_of
from magnet.data.mappings import MAPPINGS, read_mapping
from magnet.errors import ArgumentError, MagNetError, printable
from magnet.files.manifest import Manifest
from magnet.files.outputs import OVERWRITE_HELP, Outputs
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.read_input import InputImage
from magnet.images.rasters.scenes import read_scene
from magnet.images.read import CorruptImageError
from magnet.model.class_ids import class_ids
from magnet.model.magnet import MagNet
from magnet.model.predict_raster import segment_raster
from magnet.model.pretrained import find_model, read_inputs
from magnet.model.progress import progress_of
from magnet.model.raster_results import KINDS, raster_targets
from magnet.walk.ahead import Ahead, readers

__all__ = ["main"]


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",")]
    known = list(dict.fromkeys([*SAVE, *KINDS]))
    if any(kind not in known for kind in kinds):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got '{text}'")
    return list(dict.fromkeys(kinds))


def build_parser() -> Parser:
    """The parser of ``magnet predict``."""
    parser = Parser(prog="magnet predict", description="Segment images with a trained MagNet.")
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or folders of images")
    add("--model", required=True, help="folder of a model, or the name of one that comes with the library")
    add("--trust", action="store_true", help=TRUST_HELP)
    add("--out", required=True, help="folder for the results, made if it is not there")
    add(
        "--save",
        type=_kinds,
        help=f"some of {','.join(SAVE)} (labels,overlay); of maps and slides of {','.join(KINDS)} (labels)",
    )
    add(
        "--mapping",
        metavar="FILE",
        type=read_mapping,
        help=f"for --save ids: the class of each label value, as `mapping` in a YAML file, or {' or '.join(MAPPINGS)}; "
        "default: that of the data which the model was trained on",
    )
    add(
        "--n-patches",
        type=n_patches,
        help="look at this many patches a scale (MagNet-Fast), one number or one for each later scale, 0 for none; "
        "default: the model's",
    )
    add("--n-points", type=n_points, help="pixels replaced a scale: a count, or a fraction as 0.5")
    add("--kernel-size", type=kernel_size, help="median filter of the scores, odd, 1 to 15")
    add_walk_options(parser)
    add_raster_options(parser)
    add(
        "--corrupt",
        choices=("error", "skip"),
        default="error",
        help="files that cannot be read are named and the others done; error: the exit code is then 1 (default); "
        "skip: they are counted, and it is 1 only where none could be read",
    )
    add(
        "--report",
        action="store_true",
        help=f"also write {PAGE}, a page that shows the images, what refinement changed, and shares of classes, and "
        "of each image the summary that it is made of; with --part the summaries alone, of which the same command "
        "without --part makes the page",
    )
    add("--recursive", action="store_true", help="also the images in the folders below; the results mirror the folders")
    add("--part", type=part_of, metavar="I/N", help=PART_HELP)
    add("--amp", choices=AMP, default="none", help=f"{AMP_HELP}, the default")
    add("--device", type=device_name, help="cpu or cuda; default: cuda where there is one")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def main(argv: Sequence[str]) -> int:
    """``magnet predict``. Images past Pillow's size limit have results at the last scale, and full_labels at their own.

    Returns:
        0; 1 where some images could not be read (with ``--corrupt skip``: none could be read).

    Raises:
        MagNetError: nothing could be begun. Exits with 2 on wrong arguments.
    """
    args = build_parser().parse_args(argv)
    raster_options(args)  # or what is wrong with them would be told after the first images
    folder = Path(args.out)
    if args.mapping is not None and "ids" not in (args.save or ()):
        raise ArgumentError("--mapping: expected --save with ids, which alone it is for; add ids to --save")
    _check_folders(args.images, folder)
    inputs = find_inputs(args.images, folder, recursive=args.recursive, page=args.page)
    args.extent = args.extent or read_inputs(args.model).extent
    job = take_part(args, inputs, find_model(args.model))  # before what is in the way of its results
    by = f"the model '{Path(args.model).resolve() if Path(args.model).is_dir() else args.model}'"
    sources = {one.path: f"'{one.path.resolve()}' with {by}" for one in inputs}
    inside = sorted({one.folder for one in job.own} - {""})
    with Outputs(
        folder, "magnet predict", overwrite=args.overwrite, inside=inside, job=job.hash, part=job.part
    ) as outputs:
        manifest = Manifest(outputs, job.hash, job.part, overwrite=args.overwrite)
        done = what_is_done(job, manifest, sources)
        left = [one for one in job.own if one.path not in done]
        page = [(folder / PAGE, _report_source(by))] if args.report and job.part is None else []
        _check_results(job, done, outputs, manifest, sources, args, page)
        manifest.tidy()
        if told := summary(job, len(done)):
            print(f"magnet: {told}", flush=True)
        try:
            code = _predict_left(left, job, outputs, manifest, sources, args) if left else 0
        except KeyboardInterrupt:
            if kept := len(what_is_done(job, manifest, sources)):
                go_on = "the same command goes on with the others"
                print(f"magnet: {kept} of {len(job.own)} images are done; {go_on}", file=sys.stderr)
            raise
        if args.report and job.part is None:
            path = _write_report(job, outputs, sources, by, args.model)
            print(printable(f"written: {path}", 2000))
        return code


def _predict_left(
    left: list[Input],
    job: Job,
    outputs: Outputs,
    manifest: Manifest,
    sources: Mapping[Path, str],
    args: argparse.Namespace,
) -> int:
    """Load the model and predict all that is left; returns the exit code."""
    model = load_model(
        args.model,
        device=_device(args),
        amp=args.amp,
        trust=args.trust,
        n_patches=args.n_patches,
        n_points=args.n_points,
        kernel_size=args.kernel_size,
        bands=args.bands,
        value_range=args.value_range,
        extent=args.extent,
        **walk_options(args),
    )
    if "ids" in (args.save or ()) and model.num_classes is not None:
        class_ids(args.mapping, model.info, model.num_classes)  # or it would be told of each image
    code = _predict(model, left, job, outputs, manifest, sources, args)
    manifest.tidy()
    return code


def _write_report(job: Job, outputs: Outputs, sources: Mapping[Path, str], by: str, model: str) -> Path:
    """Write the page of all images of the job that are done, whichever run did them."""
    found, missing = {}, []
    for one in job.inputs:
        (path,) = targets_of(one.stem, outputs.folder / one.folder, ["summary"]).values()
        if outputs.holds(path, sources[one.path]):
            found[printable(one.name)] = path
        else:
            missing.append(printable(one.name))
    return write_page(outputs, _report_source(by), model, found, missing)


def _report_source(by: str) -> str:
    return f"what was predicted with {by}"


def _check_folders(images: Sequence[str], out: Path) -> None:
    for text in images:
        if out.is_dir() and Path(text).is_dir() and out.samefile(text):
            raise ArgumentError(
                f"--out: '{out}' is a folder of the images, where the results would be taken for images the next "
                "time; choose another folder"
            )


def _check_results(
    job: Job,
    done: Mapping[Path, list[Path]],
    outputs: Outputs,
    manifest: Manifest,
    sources: Mapping[Path, str],
    args: argparse.Namespace,
    page: Sequence[tuple[Path, str]],
) -> None:
    """Refuse results that would replace something else, or each other, whichever part they are of.

    What other parts write is not looked at: they may be writing it now, and see to it themselves.
    """
    images = [one.path for one in job.inputs] + ([Path(args.mask)] if args.mask is not None else [])
    targets = {
        one: done[one.path] if one.path in done else _targets(one, outputs.folder / one.folder, args)
        for one in job.inputs
    }
    own = set(job.own)
    results = [(one, path, sources[one.path]) for one, paths in targets.items() for path in paths]
    beside = [(path, source) for one, path, source in results if one not in own]
    outputs.check(
        [*((path, source) for one, path, source in results if one in own), *page],
        images,
        [*beside, (manifest.path, "what is done")],
    )


def _device(args: argparse.Namespace) -> str | None:
    """The device of this process: of several that share a machine, each takes a GPU of its own."""
    import torch

    if args.part != AUTO or args.device not in (None, "auto", "cuda") or not torch.cuda.is_available():
        return args.device  # type: ignore[no-any-return]
    return f"cuda:{local_rank(os.environ) % torch.cuda.device_count()}"


def _targets(one: Input, folder: Path, args: argparse.Namespace) -> list[Path]:
    """The files that are written of an image, which need not be readable: that is told when its turn comes."""
    path = one.path
    try:
        raster = open_ground(path, args)
    except ArgumentError:
        raise
    except MagNetError:
        return []
    if raster is None:
        return list(targets_of(one.stem, folder, scene_kinds(args, path)).values())
    with raster:
        check_kinds(args.save, path)
        return list(raster_targets(raster, one.stem, folder, raster_options(args).save).values())


def _predict_ground(
    model: MagNet, raster: Raster, one: Input, outputs: Outputs, told: str, args: argparse.Namespace, several: bool
) -> list[Path]:
    path, folder = one.path, outputs.folder / one.folder
    with raster:
        settings = model.settings.changed(progress=None)
        record = segment_raster(
            model,
            raster,
            settings,
            raster_options(args),
            outputs,
            one.stem,
            told,
            folder=folder,
            may_be_empty=several,  # tiles that a mask of a larger area does not reach
        )
    height, width = record.size
    resumed = f", {record.resumed} of them by an earlier run" if record.resumed else ""
    tqdm.write(
        printable(
            f"{path}: {record.seconds:.1f} s, {height}x{width} in {record.fields} fields{resumed}, "
            f"{', '.join(map(str, record.outputs.values()))}",
            4000,
        ),
        file=sys.stdout,
    )
    return list(record.outputs.values())


def _open(model: MagNet, path: Path, args: argparse.Namespace) -> Raster | InputImage:
    """An input opened as a raster, or read as a scene."""
    raster = open_ground(path, args)
    if raster is not None:
        return raster
    return read_scene(path, model.inputs, lambda size: model.plan(size).scales[-1], args.page)


def _predict(
    model: MagNet,
    inputs: list[Input],
    job: Job,
    outputs: Outputs,
    manifest: Manifest,
    sources: Mapping[Path, str],
    args: argparse.Namespace,
) -> int:
    """All inputs that are left, one after the other, the next one being read meanwhile; returns the exit code."""
    several, count = len(inputs) > 1, len(job.own)
    failed = corrupt = 0
    bar = progress_of(inputs, shown=None if several else False, desc="predicting", unit="image")
    with readers(1) as pool:
        opened = Ahead(pool, (partial(_open, model, one.path, args) for one in inputs), 1)
        for one, read in zip(bar, opened, strict=True):
            path, source, start = one.path, sources[one.path], time.perf_counter()
            try:
                found = read.result()
                if isinstance(found, Raster):
                    written = _predict_ground(model, found, one, outputs, source, args, len(job.inputs) > 1)
            except MagNetError as error:
                skipped = args.corrupt == "skip" and isinstance(error, CorruptImageError)
                failed, corrupt = failed + (not skipped), corrupt + skipped
                tqdm.write(f"magnet: {'skipped' if skipped else 'error'}: {printable(error, 2000)}", file=sys.stderr)
                continue
            if not isinstance(found, Raster):
                progress = False if several else None  # one bar is enough
                written = predict_scene(model, found, one, outputs, source, args, progress)
            state = job.states[path]
            if state is not None:
                manifest.add(one.name, state, written, time.perf_counter() - start)
            del found  # while the next one is read
    if failed and count > 1:
        print(f"magnet: error: {failed} of {count} images could not be read", file=sys.stderr)
    if corrupt:
        print(f"magnet: skipped {corrupt} of {count} images, which could not be read", file=sys.stderr)
    if corrupt == count:
        return 1
    return 1 if failed else 0
