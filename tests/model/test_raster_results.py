"""Results beside a slide: each is a pyramid that readers of slides open with its levels and its resolution."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from label_blocks import ArrayBlocks, blobs
from raster_files import noise, write_slide

from magnet import open_raster
from magnet.images.label_files.blocks import Blocks
from magnet.model.raster_results import Looks, check_packages, raster_targets, raster_writers

SIZE = (1300, 1100)
COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
IDS = {0: 7, 1: 20, 2: 3}


def quarters(values: np.ndarray) -> np.ndarray:
    """(h, w, 4): the pixels of a level that each of the next is made of, where all four are there."""
    height, width = (side // 2 * 2 for side in values.shape)
    cut = values[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return cut.transpose(0, 2, 1, 3).reshape(height // 2, width // 2, 4)


def most_frequent(four: np.ndarray) -> np.ndarray:
    """The value that most of each four have, of several the first to come so often; 255 where there is no other."""
    result = np.full(four.shape[:2], 255, np.uint8)
    for y, x in np.ndindex(*result.shape):
        found, most = [int(v) for v in four[y, x] if v != 255], 0
        for i, value in enumerate(found):
            if found[: i + 1].count(value) > most:
                most, result[y, x] = found[: i + 1].count(value), value
    return result


@pytest.fixture
def made(tmp_path: Path) -> tuple[dict[str, Path], dict[str, np.ndarray]]:
    labels = blobs(SIZE)
    sure = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    slide = write_slide(tmp_path / "slide.svs", [noise(*SIZE)], mpp="0.5")
    kinds = ("labels", "confidence", "ids")
    with open_raster(slide) as raster:
        targets = raster_targets(raster, "slide", tmp_path, kinds)
        check_packages(raster, kinds)
        blocks: list[Blocks] = [ArrayBlocks(labels), ArrayBlocks(sure)]
        writers = raster_writers(raster, Looks(["a", "b", "c"], COLOURS), *blocks, pixels=labels.size, ids=IDS)
        for kind, target in targets.items():
            writers[kind](target)
    table = np.full(256, 255, np.uint8)
    table[list(IDS)] = list(IDS.values())
    sure = np.where(labels == 255, 0, np.maximum(sure, 1)).astype(np.uint8)
    return targets, {"labels": labels, "confidence": sure, "ids": table[labels]}


@pytest.mark.parametrize("kind", ["labels", "confidence", "ids"])
def test_readers_of_slides_open_it(made: tuple, kind: str) -> None:
    targets, expected = made
    path, finest = targets[kind], expected[kind]
    assert path.name == f"slide_{kind}.tif"
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        levels = [level.asarray() for level in series.levels]
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.is_tiled and [level.shape for level in levels] == [(1300, 1100), (650, 550), (325, 275)]
        assert page.get_resolution(tifffile.RESUNIT.MICROMETER) == pytest.approx((2, 2), rel=1e-6)  # pixels a um
    assert np.array_equal(levels[0], finest)
    for one, following in pairwise(levels):
        four = quarters(one)
        part = following[: four.shape[0], : four.shape[1]]
        if kind == "confidence":
            answers = np.maximum((four > 0).sum(axis=2), 1)
            assert np.abs(part - four.astype(float).sum(axis=2) / answers).max() <= 0.5
        else:
            assert np.array_equal(part, most_frequent(four))
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.level_dimensions == ((1100, 1300), (550, 650), (275, 325))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5, rel=1e-6)
        seen = np.asarray(slide.read_region((0, 0), 0, (1100, 1300)))[..., :3]
    if kind == "labels":
        answered = finest != 255
        assert np.array_equal(seen[answered], np.array(COLOURS)[finest[answered]])
    else:
        assert np.array_equal(seen, np.repeat(finest[..., None], 3, axis=2))
    with open_raster(path) as again:
        assert [tuple(level) for level in again.levels] == [level.shape for level in levels]
