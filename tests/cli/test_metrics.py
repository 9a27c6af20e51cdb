"""Metrics: golden figures, small cases counted by hand, and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from seeded import golden, randint, randn

from magnet.evaluation.metrics import (
    accuracy_per_class,
    confusion_matrix,
    frequency_weighted_iou,
    iou_per_class,
    mean_class_accuracy,
    mean_iou,
    official_mean_iou,
    pair_counts,
    pixel_accuracy,
)


def sample() -> tuple[torch.Tensor, torch.Tensor]:
    target = randint("ops.ohem.t", 19, 2, 32, 64)
    target[:, :4] = 255
    return (randn("ops.ohem", 2, 19, 32, 64) * 3).argmax(1), target


def test_golden():
    figures = golden("ops")
    confusion = confusion_matrix(*sample(), 19)
    assert confusion.dtype == torch.int64
    assert np.array_equal(confusion.numpy(), figures["confusion"])
    assert official_mean_iou(confusion) == pytest.approx(float(figures["miou_cityscapes"]), rel=1e-12)
    assert frequency_weighted_iou(confusion) == pytest.approx(float(figures["freq_iou_cityscapes"]), rel=1e-12)
    known = range(1, 19)
    assert official_mean_iou(confusion, known) == pytest.approx(float(figures["miou_deepglobe"]), rel=1e-12)
    assert frequency_weighted_iou(confusion, known) == pytest.approx(float(figures["freq_iou_deepglobe"]), rel=1e-12)


def test_counted_by_hand():
    target = torch.tensor([[0, 0, 0, 1], [1, 1, 255, 255]])
    pred = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 0]])
    confusion = confusion_matrix(pred, target, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    iou = iou_per_class(confusion)
    assert iou[:2].tolist() == [0.5, 0.5] and math.isnan(iou[2])
    assert mean_iou(confusion) == 0.5
    assert official_mean_iou(confusion) == pytest.approx(1 / 3)
    assert frequency_weighted_iou(confusion) == 0.5


def test_accuracies_counted_by_hand():
    confusion = torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]])
    assert pixel_accuracy(confusion) == 0.7
    assert accuracy_per_class(confusion)[:2].tolist() == [0.75, 0.5]
    assert math.isnan(accuracy_per_class(confusion)[2])
    assert mean_class_accuracy(confusion) == 0.625
    assert math.isnan(pixel_accuracy(torch.zeros(2, 2))) and math.isnan(mean_class_accuracy(torch.zeros(2, 2)))


@pytest.mark.parametrize("classes", [2, 180, 200])  # the last has more pairs than 16 bits hold
def test_pairs_of_more_pixels_than_are_counted_at_a_time(classes):
    rng = np.random.default_rng(1)
    target = rng.integers(0, classes, (1031, 1033), dtype=np.uint8)
    pred = rng.integers(0, classes, target.shape, dtype=np.uint8)
    target[:5], pred[9, :7], pred[2, :7] = 255, 255, 255
    counts = pair_counts(torch.from_numpy(pred), torch.from_numpy(target), classes)
    good = (target != 255) & (pred != 255)
    pairs = target[good].astype(np.int64) * classes + pred[good]
    assert np.array_equal(counts[:-1].numpy(), np.bincount(pairs, minlength=classes**2))
    assert counts[-1] == 7  # outside of the classes, and not ignored


def test_a_class_only_predicted_counts_as_wrong():
    confusion = confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)
    assert iou_per_class(confusion).tolist() == [0.5, 0.0]
    assert mean_iou(confusion) == 0.25


def test_images_add_up_and_arrays_work():
    pred, target = sample()
    whole = confusion_matrix(pred, target, 19)
    parts = sum(
        confusion_matrix(p.numpy().astype(np.uint8), t.numpy().astype(np.uint8), 19)
        for p, t in zip(pred, target, strict=True)
    )
    assert torch.equal(whole, parts)


def test_other_ignore_index():
    target = torch.tensor([0, 1, 1])
    assert confusion_matrix(target, target, 2, ignore_index=0).tolist() == [[0, 0], [0, 2]]
    assert confusion_matrix(target, target, 2, ignore_index=None).tolist() == [[1, 0], [0, 2]]


def test_nothing_counted():
    confusion = confusion_matrix(torch.zeros(4, dtype=torch.long), torch.full((4,), 255), 3)
    assert confusion.sum() == 0
    assert math.isnan(mean_iou(confusion)) and official_mean_iou(confusion) == 0
    assert math.isnan(frequency_weighted_iou(confusion))


def test_errors():
    zeros = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"pred: expected the shape of target, \(4,\), got \(2, 2\)"):
        confusion_matrix(zeros.view(2, 2), zeros, 3)
    with pytest.raises(ValueError, match=r"target: expected labels 0\.\.2 or 255 \(ignored\), got \[-1, 3\]"):
        confusion_matrix(zeros, torch.tensor([0, 3, -1, 255]), 3)
    with pytest.raises(ValueError, match=r"pred: expected labels 0\.\.2, got \[5\]"):
        confusion_matrix(torch.tensor([0, 0, 5, 0]), zeros, 3)
    with pytest.raises(TypeError, match="pred: expected integer labels"):
        confusion_matrix(zeros.float(), zeros, 3)
    with pytest.raises(ValueError, match="num_classes: expected a positive int"):
        confusion_matrix(zeros, zeros, 0)
    with pytest.raises(ValueError, match=r"confusion: expected a \(C, C\) matrix"):
        mean_iou(torch.zeros(2, 3))
