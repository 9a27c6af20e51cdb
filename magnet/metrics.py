"""Segmentation metrics, all from one confusion matrix: rows are labels, columns predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _labels(name: str, value: Tensor | np.ndarray) -> Tensor:
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name}: expected integer labels, got {tensor.dtype}; take argmax(dim=1) of scores first")
    return tensor.flatten()


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
    if ignore_index is not None:
        valid = labels != ignore_index
        labels, predictions = labels[valid], predictions[valid]
    allowed = f"0..{num_classes - 1}"
    for name, values in (("target", labels), ("pred", predictions)):
        outside = (values < 0) | (values >= num_classes)
        if outside.any():
            found = sorted(set(values[outside].tolist()))[:5]
            extra = f" or {ignore_index} (ignored)" if name == "target" and ignore_index is not None else ""
            raise ValueError(
                f"{name}: expected labels {allowed}{extra}, got {found}; check num_classes = {num_classes}"
            )
    index = labels.long() * num_classes + predictions.long()
    return torch.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


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
