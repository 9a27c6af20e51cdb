"""Palette images as labels: the number of an entry is the class id, unless what is seen says another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magnet.data.labels import ClassIds, read_labels
from magnet.errors import MagNetError

IDS = np.arange(6, dtype=np.uint8).reshape(2, 3) % 3


def write(path: Path, numbers: np.ndarray, colours: list[tuple[int, int, int]]) -> Path:
    image = Image.fromarray(numbers, mode="P")
    image.putpalette([value for colour in colours for value in colour])
    image.save(path)
    return path


def greys(*values: int) -> list[tuple[int, int, int]]:
    return [(value, value, value) for value in values]


def test_quantised_grey_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.repeat(IDS[..., None], 3, axis=2)).quantize().save(path)
    with Image.open(path) as image:
        assert image.mode == "P" and (np.asarray(image) != IDS).any()  # so ids would be swapped
    with pytest.raises(MagNetError, match=r"a palette whose entry \d is the grey \d, .*x\.png'; save the ids as 8-bit"):
        read_labels(path, 3)


@pytest.mark.parametrize(
    ("colours", "mapping", "refused"),
    [
        (greys(0, 1, 2), None, False),
        (greys(2, 1, 0), None, True),
        (greys(1, 0, 255), None, True),
        (greys(254, 127, 0), None, True),  # 2 is drawn as 0, and the others as no class
        (greys(0, 1, 255), None, False),  # an entry that is drawn white
        (greys(0, 128, 255), None, False),  # drawn to be looked at
        ([(2, 2, 2), (1, 1, 1), (0, 0, 9)], None, False),  # colours
        (greys(0, 1, 2, 7, 7), None, False),  # entries that no pixel has
        (greys(0, 128, 255), {0: 0, 128: 1, 255: 2}, True),
    ],
)
def test_greys_that_are_class_ids(
    tmp_path: Path, colours: list[tuple[int, int, int]], mapping: dict[int, int] | None, refused: bool
) -> None:
    path = write(tmp_path / "x.png", IDS, colours)
    code = ClassIds(3, mapping)
    if refused:
        with pytest.raises(MagNetError, match="not clear which of them is the id"):
            code.read(path)
    else:
        assert np.array_equal(code.read(path).labels, IDS)


def test_where_every_number_is_an_id_greys_say_nothing(tmp_path: Path) -> None:
    assert np.array_equal(read_labels(write(tmp_path / "x.png", IDS, greys(9, 99, 199))), IDS)
