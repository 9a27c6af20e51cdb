"""Data sets by their configuration, or by the folder they are in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from magnet.data.cityscapes import Cityscapes
from magnet.data.config import DataConfig
from magnet.data.dataset import Dataset
from magnet.data.deepglobe import DEEPGLOBE_SPLIT, DeepGlobe
from magnet.data.folder import DataFolder
from magnet.data.generated import GeneratedScenes
from magnet.data.gleason import GLEASON_SPLIT, Gleason
from magnet.data.labelled_files import LabelledFiles, holds, is_hidden
from magnet.data.lists import FileLists, read_classes
from magnet.data.unreadable import leave_out_unreadable
from magnet.data.yaml_file import YamlData
from magnet.errors import ArgumentError, MagNetError, shown

__all__ = ["check_data", "data_root", "detect_format", "open_files", "open_split"]


def check_data(config: DataConfig) -> None:
    """What the settings of a data set mean together: those of another format are a slip, or meant for other data.

    Raises:
        ArgumentError: names the key, what was expected and what came.
    """
    made, lists, name = config.generated, config.lists, config.format
    try:
        inputs = config.inputs
    except ValueError as error:
        raise ArgumentError(f"data.{error}") from error
    if config.extent == "ground" and made.train > 0:
        raise ArgumentError("data.extent: expected none with data.generated, which draws scenes, got ground; omit it")
    if config.resolution and (config.extent == "scene" or made.train > 0):
        raise ArgumentError(
            f"data.resolution: expected none for scenes, which are resized whole, got '{config.resolution}'; leave it "
            "out, or set data.extent to ground"
        )
    listed = [path for path in (lists.train, lists.val, lists.test) if path]
    parts = [config.split.val, config.split.test]
    if made.train > 0:
        if config.folders or config.file or listed:
            raise ArgumentError(
                "data.generated: expected train 0 where data.folders, data.file or data.lists name other data, got "
                f"train {made.train}; add --data.generated.train 0"
            )
        if not inputs.plain:
            raise ArgumentError(
                "data.channels: expected 3, without bands and value_range, where data.generated makes scenes of 8-bit "
                f"RGB, got {shown(inputs.changed())}; leave them out"
            )
        if made.val < 1:
            raise ArgumentError(f"data.generated.val: expected at least 1, to validate on, got {made.val}")
        return
    of_others = {
        "folders": (config.folders, ("folder",)),
        "file": (config.file, ("yaml",)),
        "classes": (config.classes, ("list",)),
        "lists": (listed, ("list", "cityscapes", "deepglobe", "gleason")),
        "split": ([part for part in parts if part is not None], ("deepglobe", "gleason")),
    }
    for key, (value, formats) in of_others.items():
        if value and name not in formats:
            raise ArgumentError(
                f"data.{key}: expected none with data.format {name}, got {shown(value)}; "
                f"it is of data.format {' or '.join(formats)}"
            )
    if sum(part or 0 for part in parts) >= 1:
        raise ArgumentError(f"data.split: expected fractions val and test with a sum below 1, got {parts}")
    if name == "folder" and not config.folders and not config.root:
        raise ArgumentError(
            "data.folders: expected at least one data folder; add it to the YAML file or use --data.folders"
        )
    if name == "yaml" and not config.file:
        raise ArgumentError(
            "data.file: expected the YAML file that describes the data (data.format is yaml); add --data.file FILE"
        )


def open_split(config: DataConfig, split: str, *, extra: bool = False) -> list[Dataset]:
    """The data sets of a split: the first, and with ``extra`` (training) all other folders that are configured.

    With ``config.corrupt`` "skip" every file is decoded here, and those that cannot be read are named and left out.

    Raises:
        MagNetError: missing folders or files, an empty split, an option that does not fit.
    """
    check_data(config)
    made = config.generated
    if made.train > 0:
        counts = {"train": made.train, "val": made.val, "test": made.test}
        if split not in counts:
            raise ArgumentError(f"split: expected train, val or test for generated scenes, got '{split}'")
        first = made.seed + {"train": 0, "val": made.train, "test": made.train + made.val}[split]
        return [GeneratedScenes(counts[split], made.size, first)]
    datasets = open_files(config, split, extra=extra)
    if config.corrupt == "skip":
        for dataset in datasets:
            leave_out_unreadable(dataset)
    return list(datasets)


def open_files(config: DataConfig, split: str, *, extra: bool = False, strict: bool = True) -> list[LabelledFiles]:
    """``open_split`` of the formats on disk, nothing decoded; ``strict=False`` keeps missing files for a report."""
    check_data(config)
    datasets = _open(config, split, extra, strict)
    for dataset in datasets:
        dataset.exif, dataset.accept, dataset.inputs = config.exif, list(config.accept), config.inputs
    return datasets


def _open(config: DataConfig, split: str, extra: bool, strict: bool) -> list[LabelledFiles]:
    root = data_root(config)
    listed: str = getattr(config.lists, split, "")
    _check_paths(config, root, split, listed)
    if config.format == "folder":
        return _open_folders(config, root, split, extra, strict)
    if config.format == "yaml":
        return [YamlData(root / config.file, split, strict=strict)]
    if config.format == "list":
        if not listed:
            raise ArgumentError(
                f"data.lists.{split}: expected a list of lines image<TAB>label (data.format is list); add "
                f"--data.lists.{split} FILE"
            )
        names, ignored = config.classes, False
        if len(names) == 1 and (root / names[0]).is_file():
            names, ignored = read_classes(root / names[0])
        return [FileLists(root, split, file=root / listed, class_names=names, ignored=ignored, strict=strict)]
    options: dict[str, Any] = {"file": root / listed if listed else None, "strict": strict}
    if not listed and any((config.lists.train, config.lists.val, config.lists.test)):
        raise ArgumentError(f"data.lists.{split}: expected a list, as the other splits have one; add it")
    if config.format == "cityscapes":
        return [Cityscapes(root, split, **options)]
    default = DEEPGLOBE_SPLIT if config.format == "deepglobe" else GLEASON_SPLIT
    options["val"] = default[0] if config.split.val is None else config.split.val
    options["test"] = default[1] if config.split.test is None else config.split.test
    options["seed"] = config.split.seed
    if config.format == "deepglobe":
        return [DeepGlobe(root, split, unknown=config.unknown, unmatched=config.unmatched, **options)]
    return [Gleason(root, split, annotator=config.annotator, **options)]


def _check_paths(config: DataConfig, root: Path, split: str, listed: str) -> None:
    """Raise ArgumentError where a path of the configuration leads nowhere."""
    if not root.is_dir():
        raise ArgumentError(f"data.root: expected a folder, but '{root}' {_not_there(root)}; check the path")
    for folder in config.folders:
        if not (root / folder).is_dir():
            path = root / folder
            raise ArgumentError(f"data.folders: expected folders, but '{path}' {_not_there(path)}; check the path")
    if listed and not os.path.lexists(root / listed):
        raise ArgumentError(
            f"data.lists.{split}: expected a file, but '{root / listed}' does not exist; check the path"
        )


def _not_there(path: Path) -> str:
    return "is no folder" if os.path.lexists(path) else "does not exist"


def detect_format(root: Path) -> str:
    """The ``data.format`` of a folder by what is in it, or "yaml" for such a file.

    Raises:
        MagNetError: no such folder, or none of the layouts.
    """
    if root.suffix.lower() in (".yaml", ".yml") and root.is_file():
        return "yaml"
    if root.is_file():
        raise ArgumentError(
            f"data: expected a data folder, or a YAML file that describes the data, got the file '{root}'; give the "
            "folder that it is in, or set data.format and its keys with --config"
        )
    if not root.is_dir():
        raise ArgumentError(f"data: expected a folder, but '{root}' does not exist; check the path")
    if found := _layout(root):
        return found
    below = sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(p))
    deeper = next((p for p in below if _layout(p)), None)
    hint = f"; '{deeper}' looks like {_layout(deeper)}: is it that folder?" if deeper else ""
    raise MagNetError(
        f"data: '{root}' has the layout of none of: a data folder (images/, labels/, classes.txt), cityscapes "
        "(leftImg8bit/, gtFine/), deepglobe (train/*_sat.jpg), gleason ('Train Imgs'/); it holds "
        f"{holds(root)}{hint}; give another folder, a YAML file that describes the data, --config, or --data.format"
    )


def _layout(root: Path) -> str:
    """The ``data.format`` of a folder; empty: none is recognised."""
    if (root / "leftImg8bit").is_dir() or any((root / name).is_dir() for name in ("gtFine", "gtCoarse")):
        return "cityscapes"
    if (root / "Train Imgs").is_dir() or (root / "Maps1_T").is_dir():
        return "gleason"
    if (root / "images").is_dir() or (root / "classes.txt").is_file():
        return "folder"
    if (root / "train").is_dir() and any(not is_hidden(p) for p in (root / "train").glob("*_sat.*")):
        return "deepglobe"
    return ""


def data_root(config: DataConfig) -> Path:
    """The folder of a data set: as configured, else that of MAGNET_DATA, else the current one."""
    return Path(config.root or os.environ.get("MAGNET_DATA", "."))


def _open_folders(config: DataConfig, root: Path, split: str, extra: bool, strict: bool) -> list[LabelledFiles]:
    folders = config.folders or ([""] if config.root else [])
    datasets = [DataFolder(root / folder, split, strict=strict) for folder in (folders if extra else folders[:1])]
    for dataset in datasets[1:]:
        if dataset.class_names != datasets[0].class_names:
            raise MagNetError(
                f"data.folders: '{dataset.path}' has the classes {dataset.class_names}, but '{datasets[0].path}' has "
                f"{datasets[0].class_names}; the folders of one run must share their classes"
            )
    return list(datasets)
