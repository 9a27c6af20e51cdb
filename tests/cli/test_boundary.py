"""Boundary IoU: against erosion by its definition, mask by mask; small cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from magnet.evaluation.boundary import (
    boundary_counts,
    boundary_iou_per_class,
    boundary_pixels,
    boundary_region,
    check_boundary_width,
)


def eroded(mask: np.ndarray, d: int) -> np.ndarray:
    """Pixels whose square of 2d + 1 lies in the mask wholly; outside of the image is no mask."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, d), (2 * d + 1, 2 * d + 1))
    return windows.all(axis=(2, 3))


def region_by_definition(labels: np.ndarray, d: int) -> np.ndarray:
    region = np.zeros(labels.shape, bool)
    ignored = labels == 255
    for c in set(np.unique(labels)) - {255}:
        mask = labels == c
        region |= mask & ~eroded(mask | ignored, d)
    return region


def blobs(seed: int, shape: tuple[int, int], classes: int, ignored: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, classes, (-(-shape[0] // 6), -(-shape[1] // 6)))
    labels = np.kron(small, np.ones((6, 6), int))[: shape[0], : shape[1]].astype(np.uint8)
    noise = rng.random(shape) < 0.03
    labels[noise] = rng.integers(0, classes, int(noise.sum()))
    if ignored:
        labels[3:8, 4:20] = 255
        labels[rng.random(shape) < 0.02] = 255
    return labels


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 6, 40])
def test_regions_are_what_erosion_leaves(d: int, ignored: bool) -> None:
    for seed, (shape, classes) in enumerate((((23, 41), 3), ((30, 17), 200), ((1, 9), 2))):
        labels = blobs(seed, shape, classes, ignored and shape[0] > 8)
        found = boundary_region(torch.from_numpy(labels), d).numpy()
        assert np.array_equal(found, region_by_definition(labels, d))


@pytest.mark.parametrize("d", [1, 3])
def test_counts_are_those_of_the_masks_of_each_class(d: int) -> None:
    target, pred = blobs(5, (40, 50), 4, True), blobs(6, (40, 50), 4, False)
    region = boundary_region(torch.from_numpy(target), d)
    counts = boundary_counts(torch.from_numpy(pred), torch.from_numpy(target), 5, d, region)
    seen = np.where(target == 255, 255, pred)
    of_target, of_pred = region_by_definition(target, d), region_by_definition(seen, d)
    for c in range(5):
        g, p = (target == c) & of_target, (seen == c) & of_pred
        assert counts[:, c].tolist() == [(g & p).sum(), g.sum(), p.sum()]
    iou = boundary_iou_per_class(counts)
    both, g, p = counts[:, 1].tolist()
    assert iou[1] == both / (g + p - both)
    assert math.isnan(iou[4])  # in neither


def test_what_lies_deep_inside_does_not_matter_and_outlines_do() -> None:
    target = torch.zeros(60, 60, dtype=torch.uint8)
    target[10:50, 10:50] = 1
    hole, shifted = target.clone(), target.roll(2, 1)
    hole[30, 30] = 0

    def iou(pred: torch.Tensor) -> float:
        region = boundary_region(target, 2)
        return boundary_iou_per_class(boundary_counts(pred, target, 2, 2, region))[1].item()

    assert iou(target) == 1
    ring = 40**2 - 36**2
    assert iou(hole) == pytest.approx(ring / (ring + 24))  # its own outline, 5 x 5 without the middle
    # a ring two pixels wide moved by two: what is left are parts of the upper and lower sides
    assert iou(shifted) == pytest.approx(2 * 2 * 38 / (2 * ring - 2 * 2 * 38))


def test_width() -> None:
    assert boundary_pixels(0.02, (2336, 3504)) == 84
    assert boundary_pixels(0.02, (10, 10)) == 1
    assert boundary_pixels(7, (10, 10)) == 7
    assert boundary_pixels(10**18, (10, 12)) == 12  # where every pixel is in the region already
    for width in (0, 3, 0.5):
        assert check_boundary_width(width) == width
    for wrong in (-1, 1.0, 1.5, -0.1, float("nan"), True, "2"):
        with pytest.raises(ValueError, match="boundary_width: expected an int"):
            check_boundary_width(wrong)  # type: ignore[arg-type]
