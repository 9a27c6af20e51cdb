"""Images of a data set as a model sees them: the model knows which bands and values it was trained on."""

from __future__ import annotations

import copy

from magnet.data import Dataset, LabelledFiles
from magnet.data.dataset import inputs_of
from magnet.errors import MagNetError
from magnet.model.magnet import MagNet

__all__ = ["seen_by"]


def seen_by(model: MagNet, dataset: Dataset) -> Dataset:
    """The data set, its files read by the settings of the model's input.

    Bands, a range of values, extent and resolution that the data set has of its own come before the model's, but for
    "percentile", which is the model's matter: it was measured over the training images.

    Raises:
        MagNetError: its images have another number of channels, or bands and values that do not fit the model.
    """
    given, inputs = inputs_of(dataset), model.inputs
    unsaid = isinstance(dataset, LabelledFiles) and given.channels == 3  # as it is where nobody says so
    if given.channels != inputs.channels and not unsaid:
        raise MagNetError(
            f"data: has images of {given.channels} channels, but the model sees {inputs.channels}; evaluate on data "
            f"of {inputs.channels} channels (data.channels, data.bands)"
        )
    if not isinstance(dataset, LabelledFiles):
        return dataset
    own = None if given.value_range == "percentile" else given.value_range
    try:
        chosen = inputs.with_given(bands=given.bands, value_range=own, extent=given.extent, resolution=given.resolution)
    except ValueError as error:
        raise MagNetError(f"data.{error}") from error
    if chosen == given:
        return dataset
    seen = copy.copy(dataset)
    seen.inputs = chosen
    return seen
