"""What says how a file becomes a network's input: kept with a model, and given by the configuration of its data.

It lies beside :class:`magnet.images.rasters.channels.Channels`, beneath both the model and the data, which do not know
each other. It is no part of the settings of the walk: those may differ from call to call, and these belong to what the
networks have learnt.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from magnet.checks import check_channels
from magnet.errors import shown
from magnet.images.rasters.channels import Channels, ToTensor
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.resolution import as_resolution, resolution_text

__all__ = ["EXTENTS", "INPUTS", "InputSettings"]

EXTENTS = ("scene", "ground")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings:
    """How files become what the networks see.

    Args:
        channels: of the images that the networks see, 1 to 16.
        bands: numbers of a file's bands, from 1, in the order of the channels. None: all there are, where they are as
            many; of more, for three channels, those called red, green and blue.
        value_range: the values that become 0 and 1: (low, high), such a pair for each channel, "dtype" (the whole range
            of the type) or "percentile" (2% and 98% of the values of each file). None: bytes are divided by 255.
        extent: "scene": a file is one picture, resized whole; "ground": an area, laid out in fields at its own pixels.
            None: ground for files with a place on earth or a pixel size.
        resolution: side of a pixel of the last scale, as "0.5m" or "0.25um". None: a raster's pixels as they are.

    Raises:
        ValueError: one of these is not as it must be; begins with its name.
    """

    channels: int = 3
    bands: tuple[int, ...] | None = None
    value_range: Any = None
    extent: str | None = None
    resolution: str | None = None

    def __post_init__(self) -> None:
        channels = check_channels(self.channels)
        chosen = Channels(self.bands, self.value_range)
        bands, value_range = chosen.bands, cast(Any, chosen.value_range)
        if bands is not None and len(bands) != channels and not (len(bands) == 1 and channels == 3):
            raise ValueError(
                f"bands: expected {channels}, one for each channel, got {len(bands)}: {shown(bands)}; give as many, or "
                f"set channels to {len(bands)}"
            )
        pairs = isinstance(value_range, tuple) and isinstance(value_range[0], tuple)
        if pairs and len(value_range) not in (channels, 1 if bands is None else len(bands)):
            raise ValueError(
                f"value_range: expected one pair (low, high), or {channels}, one for each channel, got "
                f"{len(value_range)}; give as many as there are channels"
            )
        if self.extent not in (None, *EXTENTS):
            raise ValueError(f"extent: expected 'scene', 'ground' or None, got {shown(self.extent)}; give one of these")
        resolution = None if self.resolution is None else resolution_text(as_resolution(self.resolution))
        for name, value in (
            ("channels", channels),
            ("bands", bands),
            ("value_range", value_range),
            ("resolution", resolution),
        ):
            object.__setattr__(self, name, value)

    @property
    def plain(self) -> bool:
        """Whether the networks see files as 8-bit RGB, by the rules of ``magnet.images.read``."""
        return self.channels == 3 and self.bands is None and self.value_range is None

    @property
    def chosen(self) -> Channels:
        """Which bands of a raster the networks see, and which of their values are 0 and 1."""
        return Channels(self.bands, self.value_range)

    def with_given(self, **given: Any) -> InputSettings:
        """These settings with others in place of some; None is not given.

        Raises:
            ValueError: they are not as they must be.
        """
        changes = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(self, **changes) if changes else self

    def of(self, raster: Raster) -> ToTensor:
        """The conversion of a raster's pixels to what the networks see.

        Raises:
            BandsError: the raster has other bands or values. The message says which, and how to choose.
        """
        return self.chosen.of(raster, self.channels)

    def changed(self) -> dict[str, Any]:
        """The fields that are not as they are by default, for a file of JSON."""
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


INPUTS = tuple(field.name for field in dataclasses.fields(InputSettings))
