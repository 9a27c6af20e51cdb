"""The range of the values of training images, measured once: what "percentile" stands for where a model is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from magnet.data.labelled_files import LabelledFiles
from magnet.data.unreadable import each
from magnet.errors import MagNetError
from magnet.images.rasters.channels import PERCENTILES, Channels, Pair, coarsest_values
from magnet.images.rasters.read_input import open_input

__all__ = ["measured_range"]

_IMAGES = 1000  # that are looked at, at most
_VALUES = 1 << 21  # of each channel, of all images together


def measured_range(datasets: Sequence[LabelledFiles]) -> Pair | tuple[Pair, ...]:
    """Low and high of each channel over data sets: 2% and 98% of the values of their images, each counting alike.

    Of large images those of the coarsest level count, as for a single file.

    Args:
        datasets: to train on; their ``inputs`` say which bands. Of more than 1000 images evenly chosen ones count.

    Returns:
        A pair for each channel; one pair where three channels see the same grey.

    Raises:
        MagNetError: an image cannot be read, has other bands, or none holds a value.
    """
    paths = [(dataset, pair.image) for dataset in datasets for pair in dataset.pairs]
    paths = paths[:: -(-len(paths) // _IMAGES)]
    most = max(_VALUES // len(paths), 1)

    def look(number: int) -> np.ndarray:
        dataset, path = paths[number]
        raster, _ = open_input(path, upright=dataset.exif == "apply")
        with raster:
            index = Channels(dataset.inputs.bands).index(raster, dataset.inputs.channels)
            values = coarsest_values(raster, index)
        return values[:: max(-(-len(values) // most), 1)].astype(np.float64)

    found = each(look, len(paths), "measuring values")
    counts = sorted({values.shape[1] for values in found})
    if len(counts) > 1:
        raise MagNetError(
            "value_range: expected images of as many bands to measure percentiles of, got some of "
            f"{' and some of '.join(map(str, counts))}; give data.bands, or data.value_range: [low, high]"
        )
    filled = [values for values in found if len(values)]
    if not filled:
        raise MagNetError(
            "value_range: expected training images to take percentiles of, but none holds a value; give "
            "data.value_range: [low, high]"
        )
    weights = np.concatenate([np.full(len(values), 1 / len(values)) for values in filled])
    values = np.concatenate(filled)
    pairs = tuple(_weighted(values[:, channel], weights) for channel in range(values.shape[1]))
    return pairs[0] if len(pairs) == 1 else pairs


def _weighted(values: np.ndarray, weights: np.ndarray) -> Pair:
    """The values below which the shares of the percentiles of all weight lie."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    low, high = (float(values[order][np.searchsorted(share, q / 100 * share[-1])]) for q in PERCENTILES)
    # a channel of one value throughout is black
    return low, high if high > low else max(low + 1, math.nextafter(low, math.inf))
