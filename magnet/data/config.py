"""The configuration of data sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from magnet.bounds import (
    MAX_CACHE_MB,
    MAX_CHANNELS,
    MAX_INT,
    MAX_SCENES,
    MAX_SEED,
)
from magnet.data.kinds import SceneSize, Text, number, said, whole
from magnet.images.rasters.input_settings import InputSettings

__all__ = ["DataConfig", "GeneratedConfig", "ListsConfig", "SplitConfig"]


@dataclass
class GeneratedConfig:
    """Scenes made by ``magnet.data.scenes`` instead of files.

    Args:
        train: number of scenes to train on; 0 = read data folders instead.
        val: number of scenes to validate on.
        test: number of scenes to evaluate on.
        size: (H, W) of a scene.
        seed: seed of the first one; the splits follow each other and never share a seed.
    """

    train: Annotated[int, whole(0, MAX_SCENES)] = 0
    val: Annotated[int, whole(0, MAX_SCENES)] = 0
    test: Annotated[int, whole(0, MAX_SCENES)] = 0
    size: SceneSize = (1024, 2048)
    seed: Annotated[int, whole(0, MAX_SEED)] = 0


@dataclass
class ListsConfig:
    """List files of the splits, relative to ``data.root``: lines ``image<TAB>label`` that are relative to it, too.

    Args:
        train: images to train on.
        val: images to validate on.
        test: images to evaluate on.
    """

    train: Text = ""
    val: Text = ""
    test: Text = ""


@dataclass
class SplitConfig:
    """How deepglobe and gleason, which come without splits, are split where ``lists`` are empty.

    Args:
        val: fraction of the images to validate on; empty = that of the format.
        test: fraction of the images to evaluate on; empty = that of the format.
        seed: seed of the choice; the same on every machine.
    """

    val: _Share | None = None
    test: _Share | None = None
    seed: Annotated[int, whole(0, MAX_INT)] = 0


@dataclass
class DataConfig:
    """Where the images are.

    Args:
        root: folder that the paths below are relative to, and the place of cityscapes, deepglobe and gleason; empty =
            MAGNET_DATA of the environment, or the current folder.
        format: "folder" (images/, labels/, classes.txt, a list a split), "cityscapes", "deepglobe", "gleason", "yaml"
            (the description ``file``), or "list" (``lists`` and ``classes``).
        folders: data folders (folder). The first is validated and evaluated on; the others only add training images.
            Empty = root itself.
        file: YAML file with the folders or lists of each split, classes and ignored values (yaml).
        lists: list files (list), or instead of the folders' own splits (cityscapes, deepglobe, gleason).
        classes: names of the classes, or one file of lines "id name" (list); empty = classes.txt.
        split: fractions and seed of the splits (deepglobe, gleason).
        unknown: whether unlabelled pixels (deepglobe) are ignored, or a class of their own, number 0.
        unmatched: what colours of no class mean (deepglobe): an error, ignored pixels, or binarized channels.
        annotator: whose labels (gleason): "majority", a number from 1 to 6, or "random" for each training sample.
        corrupt: "error" stops at a file that cannot be read; "skip" reads all at the start, names and skips those.
        exif: "apply" turns images upright as their EXIF tag says, "ignore" leaves them as stored, for labels that were
            drawn so. Labels are never turned.
        extent: "scene" = images are resized whole to the scales; "ground" = they are seen in fields of the size of the
            last scale, at their own pixels. Empty = ground are rasters with a place on earth or a pixel size that are
            larger than the last scale (GeoTIFF, COG, slides); all others are scenes, also beside them. Kept with the
            model.
        resolution: side of a pixel of the last scale on the ground, as "0.5m" or "0.25um": ground of other pixels is
            seen at it, also by the model from then on. Empty = at its own pixels.
        accept: what would be an error, declared to be meant: "absent" (classes without a pixel in the training split),
            "ignored" (many pixels of 255 where nothing else declares that it is ignored), "lossy" (JPEG labels).
        channels: of the images that the networks see; 3 is RGB.
        bands: numbers of the files' bands, from 1, one for each channel; empty = all there are, where they are as many.
        value_range: the values that become 0 and 1: [low, high], such a pair for each channel, "dtype" (the whole range
            of the type), or "percentile" (2% and 98% of the values of the training images, measured once and kept with
            the model); null = files are of 8 bits.
        generated: scenes made by the program instead.
        cache_mb: memory for decoded images of each data set; what does not fit is read again at every use.
        workers: processes that make training samples while the network trains; 0 = none. The samples stay the same.
    """

    root: Text = ""
    format: Literal["folder", "cityscapes", "deepglobe", "gleason", "yaml", "list"] = "folder"
    folders: list[Text] = field(default_factory=list)
    file: Text = ""
    lists: ListsConfig = field(default_factory=ListsConfig)
    classes: list[Text] = field(default_factory=list)
    split: SplitConfig = field(default_factory=SplitConfig)
    unknown: Literal["ignore", "class"] = "ignore"
    unmatched: Literal["error", "ignore", "binarize"] = "error"
    annotator: Literal["majority", "random"] | Annotated[int, whole(1, 6)] = "majority"
    corrupt: Literal["error", "skip"] = "error"
    exif: Literal["apply", "ignore"] = "apply"
    accept: list[Literal["absent", "ignored", "lossy"]] = field(default_factory=list)
    channels: Annotated[int, whole(1, MAX_CHANNELS)] = 3
    bands: Annotated[list[_Band], said(description="a list of numbers of bands, from 1")] = field(default_factory=list)
    value_range: (
        Annotated[
            Literal["dtype", "percentile"] | _Range | Annotated[list[_Range], Field(min_length=1)],
            said(description="two numbers [low, high], a list of such pairs, dtype or percentile"),
        ]
        | None
    ) = None
    extent: Literal["scene", "ground"] | None = None
    resolution: Text = ""
    generated: GeneratedConfig = field(default_factory=GeneratedConfig)
    cache_mb: Annotated[int, whole(0, MAX_CACHE_MB)] = 4096
    workers: Annotated[int, whole(0, 1024, "0 = none")] = 2

    @property
    def inputs(self) -> InputSettings:
        """How the networks see the images.

        Raises:
            ValueError: the keys do not fit together; begins with one of them.
        """
        return InputSettings(
            channels=self.channels,
            bands=tuple(self.bands) or None,
            value_range=self.value_range,
            extent=self.extent,
            resolution=self.resolution or None,
        )


_Band = Annotated[int, whole(1, 1024)]
_Value = Annotated[float, number(-1e12, 1e12)]
_Range = tuple[_Value, _Value]
_Share = Annotated[float, number(0, 1, below=True, description="a fraction of the images, 0 to below 1")]
