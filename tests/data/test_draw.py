"""Pictures: exact colours, exact places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magnet.images import draw

COLOURS = [(10, 20, 30), (200, 100, 0), (0, 250, 5)]


def test_label_picture() -> None:
    labels = np.array([[0, 1, 2], [2, 255, 7]])
    picture = draw.label_picture(labels, COLOURS)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[list(c) for c in COLOURS], [list(COLOURS[2]), [0, 0, 0], [0, 0, 0]]]


def test_label_image_keeps_the_classes_in_the_file(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 255]], dtype=np.int64)
    draw.label_image(labels, COLOURS).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "P"
        assert np.array(image).tolist() == labels.tolist()
        assert np.array(image.convert("RGB"))[0].tolist() == [list(COLOURS[0]), list(COLOURS[1])]


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.zeros(3, int), np.full((1, 1), 256), np.full((1, 1), -1)])
def test_label_picture_refuses(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^labels: expected"):
        draw.label_picture(labels, COLOURS)


@pytest.mark.parametrize("n", [1, 2, 8, 19])
def test_default_colours_differ(n: int) -> None:
    colours = np.array(draw.default_colours(n))
    assert colours.shape == (n, 3) and colours.min() >= 0 and colours.max() <= 255
    apart = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(n)
    assert apart.min() > 30


def test_overlay() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1]])
    assert draw.overlay(image, labels, COLOURS, alpha=0.5).tolist() == [[[55, 60, 65], [150, 100, 50]]]
    assert np.array_equal(draw.overlay(image, labels, COLOURS, alpha=0), image)
    assert np.array_equal(draw.overlay(image, labels, COLOURS, alpha=1), draw.label_picture(labels, COLOURS))
    with pytest.raises(ValueError, match="size of the image"):
        draw.overlay(image, labels.T, COLOURS)


def test_heat_map_rises_and_clips() -> None:
    values = np.array([[0, 0.25, 0.5, 0.75, 1, -3, 9, np.nan]])
    heat = draw.heat_map(values).astype(int)
    brightness = heat.sum(-1)[0]
    assert (np.diff(brightness[:5]) > 0).all()
    assert brightness[5] == brightness[0] and brightness[6] == brightness[4] == brightness[7]


def test_points_picture_marks_the_points_and_nothing_else() -> None:
    image = np.full((8, 8, 3), 200, np.uint8)
    points = np.zeros((8, 8), bool)
    points[2, 5] = True
    picture = draw.points_picture(image, points)
    assert picture[2, 5].tolist() == [255, 214, 10]
    picture[2, 5] = picture[0, 0]
    assert (picture == 80).all()


def test_points_that_changed_no_class_are_faint() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    points = np.array([[True] * 4] * 2 + [[False] * 4] * 2)
    changed = np.array([[True, True, False, False]] * 4)
    red = draw.points_picture(image, points, changed)[..., 0]
    assert (red[:2, :2] == 255).all() and (red[2:] == 0).all()
    assert (red[:2, 2:] > 40).all() and (red[:2, 2:] < 128).all()


def test_points_of_a_smaller_scale_land_where_they_belong() -> None:
    points = np.zeros((4, 4), bool)
    points[1, 2] = True
    picture = draw.points_picture(np.zeros((8, 8, 3), np.uint8), points)
    assert picture[2:4, 4:6, 0].min() > 150 and picture[6:, :4].max() == 0


def test_changes_are_marked_by_what_became_of_them() -> None:
    image = np.full((1, 6, 3), 100, np.uint8)
    truth = np.array([[1, 1, 1, 1, 255, 0]])
    coarse = np.array([[0, 1, 0, 1, 0, 1]])
    refined = np.array([[1, 0, 2, 1, 1, 1]])
    picture = draw.changes_picture(image, coarse, refined, truth)
    dark = [40, 40, 40]
    assert picture[0].tolist() == [[*draw.RIGHTED], [*draw.SPOILT], [*draw.STILL_WRONG], dark, dark, dark]


def test_most_improved_finds_the_gain() -> None:
    truth = np.zeros((40, 60), int)
    coarse = truth.copy()
    coarse[20:25, 30:36] = 1  # wrong, put right
    refined = truth.copy()
    refined[0:9, 0:9] = 1  # right, spoilt: changed, and no gain
    first, second = draw.most_improved(coarse, refined, truth, size=(10, 12))
    assert first.y0 <= 20 and first.y1 >= 25 and first.x0 <= 30 and first.x1 >= 36
    assert (first.y1 - first.y0, first.x1 - first.x0) == (10, 12)
    assert second.x1 <= first.x0 or second.x0 >= first.x1 or second.y1 <= first.y0 or second.y0 >= first.y1
    changed = draw.most_improved(coarse, refined, size=(10, 12), n=1)[0]
    assert changed.x0 == 0 and changed.y0 == 0
    assert len(draw.most_improved(coarse, refined, size=(40, 60), n=3)) == 1


@pytest.mark.parametrize("size", [(48, 96), (96, 48)])
@pytest.mark.parametrize("with_truth", [True, False])
def test_sheet_shows_the_pictures(size: tuple[int, int], with_truth: bool) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    coarse, refined = np.zeros(size, np.uint8), np.full(size, 2, np.uint8)
    sheet = draw.picture_sheet(
        image,
        coarse,
        refined,
        uncertainty=np.ones((6, 8)),
        points=np.ones(size, bool),
        truth=np.ones(size, np.uint8) if with_truth else None,
        colours=COLOURS,
        class_names=["sky", "ground", "fence"],
        scores=(12.34, 56.78),
        width=600,
    )
    assert sheet.width == 600 and sheet.mode == "RGB"
    found = {color for _, color in sheet.getcolors(1 << 24)}
    assert tuple(COLOURS[0]) in found and tuple(COLOURS[2]) in found  # coarse, refined
    assert {(255, 214, 10), (252, 240, 190), (90, 90, 90)} <= found  # points, uncertainty, image
    share = (np.array(sheet) == COLOURS[1]).all(-1).mean()
    assert share > 0.03 if with_truth else share < 0.01  # labels; else only the legend


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (5000, 3)])
@pytest.mark.parametrize("with_truth", [True, False])
def test_sheets_of_thin_images_are_bounded(size: tuple[int, int], with_truth: bool) -> None:
    labels = np.zeros(size, np.uint8)
    sheet = draw.picture_sheet(
        np.full((*size, 3), 90, np.uint8),
        labels,
        labels,
        uncertainty=np.ones((6, 8)),
        points=np.ones((6, 8), bool),
        truth=labels if with_truth else None,
        colours=COLOURS,
        width=200,
    )
    rows = 4  # of pictures, each at most twice as tall as the sheet is wide
    assert sheet.width == 200 and sheet.height <= rows * (2 * 200 + 60) + 60
    assert (90, 90, 90) in {colour for _, colour in sheet.getcolors(1 << 24)}


def test_a_row_keeps_the_shape_of_what_it_shrinks() -> None:
    sheet = draw.Sheet(100, gap=0)
    sheet.row([("", np.zeros((30, 40, 3), np.uint8)), ("", np.zeros((4000, 100, 3), np.uint8))], 2)
    assert [part.size for part, _, _ in sheet.parts] == [(50, 38), (5, 200)]


def test_sheet_refuses_labels_of_another_size() -> None:
    labels = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"^truth: expected the size of the image, \(8, 8\), got \(8, 9\)"):
        draw.picture_sheet(
            np.zeros((8, 8, 3), np.uint8),
            labels,
            labels,
            uncertainty=np.zeros((8, 8)),
            points=np.zeros((8, 8), bool),
            truth=np.zeros((8, 9), np.uint8),
            colours=COLOURS,
        )
