"""Checkpoints of the public release become a folder that ``MagNet.from_pretrained`` loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from magnet.checkpoints.fit import KeyReport, load_state, match_official
from magnet.errors import MagNetError
from magnet.files.atomic import check_output_dir, no_empty_folders
from magnet.files.outputs import check_targets
from magnet.files.reading import sha256
from magnet.model.magnet import MagNet
from magnet.model.pretrained import CONFIG, WEIGHTS, check_model_folder
from magnet.networks import RefinementModule, build_segmenter

__all__ = ["convert", "count_keys"]


def convert(
    backbone: str | Path,
    refiners: Sequence[str | Path],
    out: str | Path,
    *,
    network: str,
    num_classes: int,
    report: Callable[[KeyReport], object] | None = None,
    half: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> MagNet:
    """Turn checkpoints into a folder. Either every key of every file is accounted for, or nothing is written.

    Args:
        backbone: checkpoint of the segmenter, a state dict.
        refiners: checkpoints of the refinement modules: one for all scales, or one for each scale after the first.
        out: folder to write.
        network: what the backbone is, one of ``magnet.networks.SEGMENTERS``.
        num_classes: number of classes.
        report: called with the ``KeyReport`` of each file, whether it fits or not.
        half: store the larger weights in half precision.
        overwrite: replace a model in ``out`` that is not of the same checkpoints, and other files of these names.
        settings: the other arguments of ``MagNet``: scales, patch_size, n_points, compat, ...

    Returns:
        The ``MagNet``, as it was saved.

    Raises:
        MagNetError: a file is missing, truncated, holds more than tensors or does not fit; the folder cannot be
            written, or holds another model.
        TypeError, ValueError: a setting is not valid; checked before any file is read.
    """
    with torch.device("meta"):  # all of their weights will come from the files
        segmenter = build_segmenter(network, num_classes)
        modules = [RefinementModule(num_classes) for _ in refiners]
        model = MagNet(segmenter, modules, **settings)
    files = [Path(path) for path in (backbone, *refiners)]
    check_targets([(Path(out) / name, "the checkpoints") for name in (CONFIG, WEIGHTS)], files, "--out")
    origin = [{"file": path.name, "sha256": sha256(path)} for path in files if path.is_file()]
    check_model_folder(
        Path(out),
        argument="--out",
        overwrite=overwrite,
        is_same=lambda config: (config.get("info") or {}).get("converted_from") == origin,
    )
    with no_empty_folders(out):
        check_output_dir(out)
        misfits: list[KeyReport] = []
        for path, module in zip([backbone, *refiners], [segmenter, *modules], strict=True):
            state, keys = match_official(path, module)
            if report is not None:
                report(keys)
            if keys.fits:
                load_state(module.to_empty(device="cpu"), state, source=path)
            else:
                misfits.append(keys)
        if misfits:
            told = "; ".join(f"'{keys.source}': {count_keys(keys)}" for keys in misfits)
            raise MagNetError(
                f"convert: {len(misfits)} of {1 + len(refiners)} checkpoints do not fit ({told}), so no model was "
                "written; check --network, --num-classes and which file is which"
            )
        model.save_pretrained(out, half=half, info={"converted_from": origin}, overwrite=overwrite)
    return model.eval()


def count_keys(keys: Any) -> str:
    return f"{len(keys.missing)} keys missing, {len(keys.unexpected)} unexpected, {len(keys.mismatched)} mis-shaped"
