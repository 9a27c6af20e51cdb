"""Segmentation metrics, all from one confusion matrix: rows are labels, columns predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_PART = {"cpu": 1 << 20, "cuda": 1 << 25}  # pixels counted at a time: what stays in a CPU's cache


def _labels(name: str, value: Tensor | np.ndarray) -> Tensor:
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name}: expected integer labels, got {tensor.dtype}; take argmax(dim=1) of scores first")
    return tensor.flatten()


def count_values(values: Tensor, bins: int) -> Tensor:
    """How often each of 0..bins-1 is among the integers ``values``: (bins,) int64, on their device.

    Values outside are an error on the CPU and undefined on a GPU, where the host is not waited for.
    """
    values = values.flatten()
    if values.device.type == "cpu":
        return torch.bincount(values, minlength=bins)
    ones = torch.ones((), dtype=torch.int64, device=values.device).expand(values.shape)
    return ones.new_zeros(bins).scatter_add_(0, values.long(), ones)


def pair_counts(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """The counts of ``confusion_matrix`` without its checks, which wait for the device: for sums over many images.

    Args:
        pred, target: integer labels of the same shape on the same device.
        num_classes: number of classes C.
        ignore_index: label in ``target`` of pixels that do not count; None: all count.

    Returns:
        (C * C + 1,) int64: the matrix row by row, and last how many pixels have a label or prediction outside 0..C-1.
    """
    square = num_classes**2
    dtype = torch.int16 if square + 2 <= 1 << 15 else torch.int64
    labels, predictions = target.flatten(), pred.flatten()
    total = torch.zeros(square + 2, dtype=torch.int64, device=labels.device)
    size = _PART.get(labels.device.type, 1 << 20)
    for t, p in zip(labels.split(size), predictions.split(size), strict=True):
        inside = (t >= 0) & (t < num_classes) & (p >= 0) & (p < num_classes)
        index = (t.to(dtype) * num_classes + p.to(dtype)).masked_fill_(~inside, square)
        if ignore_index is not None:
            index.masked_fill_(t == ignore_index, square + 1)
        total += count_values(index, square + 2)
    return total[:-1]


def confusion_matrix(
    pred: Tensor | np.ndarray, target: Tensor | np.ndarray, num_classes: int, ignore_index: int | None = 255
) -> Tensor:
    """Count pixels by (label, prediction); add the matrices of several images for those of a data set.

    Args:
        pred, target: integer labels of the same shape, any shape.
        num_classes: number of classes C.
        ignore_index: label in ``target`` of pixels that do not count; None: all count.

    Returns:
        (C, C) int64 on the device of ``target``; [i, j] counts pixels of class i predicted as j.

    Raises:
        ValueError: shapes differ, or a label or a prediction that counts lies outside 0..C-1.
        TypeError: not integers.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes: expected a positive int, got {num_classes!r}")
    if tuple(pred.shape) != tuple(target.shape):
        raise ValueError(
            f"pred: expected the shape of target, {tuple(target.shape)}, got {tuple(pred.shape)}; "
            "resize the prediction to the labels"
        )
    labels, predictions = _labels("target", target), _labels("pred", pred)
    predictions = predictions.to(labels.device)
    counts = pair_counts(predictions, labels, num_classes, ignore_index)
    if counts[-1] > 0:
        _raise_outside(predictions, labels, num_classes, ignore_index)
    return counts[:-1].view(num_classes, num_classes)


def _raise_outside(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int | None) -> None:
    if ignore_index is not None:
        valid = labels != ignore_index
        labels, predictions = labels[valid], predictions[valid]
    for name, values in (("target", labels), ("pred", predictions)):
        outside = (values < 0) | (values >= num_classes)
        if outside.any():
            found = sorted(set(values[outside].tolist()))[:5]
            extra = f" or {ignore_index} (ignored)" if name == "target" and ignore_index is not None else ""
            raise ValueError(
                f"{name}: expected labels 0..{num_classes - 1}{extra}, got {found}; check num_classes = {num_classes}"
            )


def _parts(confusion: Tensor | np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Intersection, union and label count of each class, float64."""
    matrix = torch.as_tensor(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"confusion: expected a (C, C) matrix of counts, got shape {tuple(matrix.shape)}")
    matrix = matrix.double()
    intersection, label_count = matrix.diagonal(), matrix.sum(1)
    return intersection, label_count + matrix.sum(0) - intersection, label_count


def iou_per_class(confusion: Tensor | np.ndarray) -> Tensor:
    """Intersection over union of each class, (C,) float64; NaN where a class is in neither labels nor predictions."""
    intersection, union, _ = _parts(confusion)
    return intersection / union


def mean_iou(confusion: Tensor | np.ndarray) -> float:
    """Mean IoU over the classes present in labels or predictions; NaN where nothing was counted."""
    return iou_per_class(confusion).nanmean().item()


def pixel_accuracy(confusion: Tensor | np.ndarray) -> float:
    """Share of the pixels that are predicted as labelled; NaN where nothing was counted."""
    intersection, _, label_count = _parts(confusion)
    return (intersection.sum() / label_count.sum()).item()


def accuracy_per_class(confusion: Tensor | np.ndarray) -> Tensor:
    """Share of each class's labels that are predicted so (recall), (C,) float64; NaN where a class has no labels."""
    intersection, _, label_count = _parts(confusion)
    return intersection / label_count


def mean_class_accuracy(confusion: Tensor | np.ndarray) -> float:
    """Mean accuracy over the classes present in the labels; NaN where nothing was counted."""
    return accuracy_per_class(confusion).nanmean().item()


def official_mean_iou(confusion: Tensor | np.ndarray, classes: Sequence[int] | None = None) -> float:
    """Mean IoU as the public release sums it up: absent classes score 0.

    Args:
        confusion: (C, C) counts.
        classes: those averaged; None: all. The release leaves class 0, "unknown", out on DeepGlobe: 1..6.
    """
    iou = iou_per_class(confusion).nan_to_num(nan=0.0)
    return (iou if classes is None else iou[list(classes)]).mean().item()


def frequency_weighted_iou(confusion: Tensor | np.ndarray, classes: Sequence[int] | None = None) -> float:
    """IoU averaged over the classes by their share of the labels: what the release prints for each image.

    Args:
        confusion: (C, C) counts.
        classes: those averaged, shares taken of their labels; None: all.

    Returns:
        The average; NaN where none of the classes is in the labels.
    """
    intersection, union, label_count = _parts(confusion)
    chosen = list(range(union.numel())) if classes is None else list(classes)
    iou = (intersection / union).nan_to_num(nan=0.0)[chosen]
    return (iou * label_count[chosen] / label_count[chosen].sum()).sum().item()
