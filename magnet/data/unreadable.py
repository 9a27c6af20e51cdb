"""Files that cannot be read: found before training starts, named, counted, and left out if that is wished."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from magnet.data.labelled_files import LabelledFiles
from magnet.distributed import is_main
from magnet.errors import MagNetError
from magnet.images.rasters.read_input import read_input
from magnet.images.rasters.tiles import TiledRaster, row_boxes
from magnet.images.read import CorruptImageError
from magnet.notices import gathered

__all__ = ["each", "leave_out_unreadable", "share_without_value"]

_LOG = logging.getLogger("magnet")
_Result = TypeVar("_Result")


def each(work: Callable[[int], _Result], count: int, description: str) -> Sequence[_Result]:
    """``work(0) .. work(count - 1)`` on all cores, with a progress bar. Decoding images leaves Python's lock alone."""
    from tqdm import tqdm

    hidden = None if is_main() else True
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            done = pool.map(work, range(count))
            return list(tqdm(done, total=count, desc=description, leave=False, disable=hidden))
        except BaseException:  # an error, or a signal: what has not begun is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def share_without_value(dataset: LabelledFiles, index: int) -> float:
    """Read an image from end to end by window, and say which share of its pixels holds no value.

    Raises:
        CorruptImageError, MagNetError: it is damaged, or cannot be opened.
    """
    with dataset.open_image(index) as raster:
        if isinstance(raster, TiledRaster):
            raster.cache_bytes = 0  # no tile is in two boxes
        missing = sum(int((~raster.read_level(0, box)[1]).sum()) for box in row_boxes(raster))
        return missing / (raster.size[0] * raster.size[1])


def leave_out_unreadable(dataset: LabelledFiles) -> list[str]:
    """Take the images out of a data set whose file, or label file, cannot be read, and say so in one warning.

    Decodes every file once, as a truncated one looks whole from its header.

    Returns:
        What is wrong with each of them.

    Raises:
        MagNetError: no image is left.
    """

    def trouble(index: int) -> str | None:
        try:
            with gathered():  # told when it is used
                if dataset.by_parts(index):
                    share_without_value(dataset, index)
                else:
                    read_input(dataset.pairs[index].image, dataset.inputs)
            dataset.count_labels(index)
        except CorruptImageError as error:
            return str(error)
        return None

    found = each(trouble, len(dataset), f"checking {dataset.split} images")
    told = [message for message in found if message]
    if len(told) == len(found):
        raise MagNetError(
            f"data: none of the {len(found)} images of the split '{dataset.split}' of '{dataset.place}' can be read; "
            f"the first: {told[0]}"
        )
    if told:
        _LOG.warning(
            f"data: skipping {len(told)} unreadable of {len(found)} images of the split '{dataset.split}' of "
            f"'{dataset.place}': {'; '.join(told)}"
        )
        dataset.keep(index for index, message in enumerate(found) if not message)
    return told
