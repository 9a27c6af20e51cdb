"""Labelled images: the formats they come in, one small module each, and their copies at each scale of the walk."""

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
