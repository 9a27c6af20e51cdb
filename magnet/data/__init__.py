"""Labelled images: the formats they come in, one small module each, and their copies at each scale of the walk."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magnet.data.cache import ScaleCache
    from magnet.data.cityscapes import Cityscapes
    from magnet.data.dataset import IGNORE_INDEX, Colour, Dataset, colours_of
    from magnet.data.deepglobe import DeepGlobe
    from magnet.data.folder import DataFolder
    from magnet.data.generated import GeneratedScenes
    from magnet.data.gleason import Gleason
    from magnet.data.labelled_files import LabelledFiles
    from magnet.data.labels import read_labels, resize_labels
    from magnet.data.lists import FileLists
    from magnet.data.open import detect_format, open_split
    from magnet.data.yaml_file import YamlData

# Loaded on first use: a scene is drawn, or IGNORE_INDEX taken, where settings (pydantic) are not installed.
_LAZY = {
    "Cityscapes": "magnet.data.cityscapes",
    "Colour": "magnet.data.dataset",
    "DataFolder": "magnet.data.folder",
    "Dataset": "magnet.data.dataset",
    "DeepGlobe": "magnet.data.deepglobe",
    "FileLists": "magnet.data.lists",
    "GeneratedScenes": "magnet.data.generated",
    "Gleason": "magnet.data.gleason",
    "IGNORE_INDEX": "magnet.data.dataset",
    "LabelledFiles": "magnet.data.labelled_files",
    "ScaleCache": "magnet.data.cache",
    "YamlData": "magnet.data.yaml_file",
    "colours_of": "magnet.data.dataset",
    "detect_format": "magnet.data.open",
    "open_split": "magnet.data.open",
    "read_labels": "magnet.data.labels",
    "resize_labels": "magnet.data.labels",
}

__all__ = [
    "IGNORE_INDEX",
    "Cityscapes",
    "Colour",
    "DataFolder",
    "Dataset",
    "DeepGlobe",
    "FileLists",
    "GeneratedScenes",
    "Gleason",
    "LabelledFiles",
    "ScaleCache",
    "YamlData",
    "colours_of",
    "detect_format",
    "open_split",
    "read_labels",
    "resize_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'magnet.data' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return value
