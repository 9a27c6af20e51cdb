"""The operators once more, in numpy and as plainly as can be: what the reference itself is tested against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def confidence(x: Tensor, from_logits: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W) float32."""
    values = x.detach().cpu().float().numpy()
    with np.errstate(all="ignore"):
        if from_logits:
            values = values.astype(np.float64)
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values = values / values.sum(axis=1, keepdims=True)
        top = np.sort(values, axis=1)[:, -2:]
        margin = top[:, 1:] - top[:, :1]
    margin[np.isnan(values).any(axis=1, keepdims=True) | np.isnan(margin)] = 0
    return torch.from_numpy(margin.astype(np.float32))


def median_blur(x: Tensor, kernel_size: int) -> Tensor:
    """Any type, NaN lowest, -0 below 0, zero padded."""
    values = x.detach().cpu().double().numpy()  # exact for all four types
    r = kernel_size // 2
    padded = np.pad(values, ((0, 0), (0, 0), (r, r), (r, r)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size), axis=(2, 3))
    windows = windows.reshape(*values.shape, kernel_size**2)
    nan = np.isnan(windows)
    order = np.lexsort((~np.signbit(windows), np.where(nan, 0, windows), ~nan), axis=-1)
    middle = order[..., kernel_size**2 // 2]
    result = np.take_along_axis(windows, middle[..., None], axis=-1)[..., 0]
    return torch.from_numpy(result).to(x.dtype)


def score(coarse: Tensor, fine: Tensor, kernel_size: int, mask: Tensor | None = None) -> Tensor:
    """Of probabilities: (N, 1, H, W) float32."""
    with np.errstate(all="ignore"):
        raw = (np.float32(1) - confidence(coarse).numpy()) * confidence(fine).numpy()
    raw[np.isnan(raw)] = 0
    if mask is not None:
        raw[~np.broadcast_to(mask.cpu().numpy(), raw.shape)] = 0
    return median_blur(torch.from_numpy(raw), kernel_size)


def select(scores: Tensor, n_points: int, mask: Tensor | None = None) -> Tensor:
    """The ``n_points`` highest of each image: (N, n_points) int64, rows end in -1 where valid pixels run out."""
    rows = scores.detach().cpu().double().flatten(1).numpy()
    valid = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask.cpu().numpy(), scores.shape)
    result = np.full((rows.shape[0], n_points), -1, np.int64)
    for image, (row, allowed) in enumerate(zip(rows, valid.reshape(rows.shape), strict=True)):
        nan = np.isnan(row)
        best = np.lexsort((np.arange(row.size), -np.where(nan, 0, row), nan))
        chosen = np.sort(best[allowed[best]][:n_points])
        result[image, : chosen.size] = chosen
    return torch.from_numpy(result)


def replace(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    """Contiguous copy of ``coarse`` with ``fine`` at ``points``."""
    refined = coarse.detach().clone(memory_format=torch.contiguous_format)
    width = coarse.shape[3]
    for image, row in enumerate(points.tolist()):
        for point in row:
            if point >= 0:
                refined[image, :, point // width, point % width] = fine[image, :, point // width, point % width]
    return refined


def count(n_points: int | float, height: int, width: int) -> int:
    """``n_points`` as a count."""
    return min(n_points, height * width) if isinstance(n_points, int) else int(height * width * n_points)
