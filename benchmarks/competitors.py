"""What users would write instead: the plain torch code, and the best version that torch.compile makes fast.

Maps hold probabilities (N, C, H, W); scores are (N, 1, H, W). The plain code is MagNet as published code tends to write
it. The compiled code is written for the compiler: no topk over classes, no unfold, nothing that it cannot fuse.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# --- plain torch


def plain_confidence(x: Tensor) -> Tensor:
    top = x.topk(2, dim=1).values
    return top[:, :1] - top[:, 1:]


def plain_confidence_of_logits(x: Tensor) -> Tensor:
    return plain_confidence(x.softmax(dim=1))


def plain_median(x: Tensor, kernel_size: int) -> Tensor:
    n, c, h, w = x.shape
    windows = F.unfold(x.reshape(n * c, 1, h, w), kernel_size, padding=kernel_size // 2)
    return windows.median(dim=1).values.view(n, c, h, w)


def plain_score(coarse: Tensor, fine: Tensor, kernel_size: int = 3) -> Tensor:
    return plain_median((1 - plain_confidence(coarse)) * plain_confidence(fine), kernel_size)


def plain_select(score: Tensor, n_points: int) -> Tensor:
    return score.flatten(1).topk(n_points, dim=1).indices


def plain_replace_(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    index = points[:, None].expand(-1, coarse.shape[1], -1)
    coarse.flatten(2).scatter_(2, index, fine.flatten(2).gather(2, index))
    return coarse


def plain_replace(coarse: Tensor, fine: Tensor, points: Tensor) -> Tensor:
    index = points[:, None].expand(-1, coarse.shape[1], -1)
    return coarse.flatten(2).scatter(2, index, fine.flatten(2).gather(2, index)).view_as(coarse)


def plain_refine_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    return plain_replace_(coarse, fine, plain_select(plain_score(coarse, fine), n_points))


def plain_refine(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    return plain_replace(coarse, fine, plain_select(plain_score(coarse, fine), n_points))


def plain_refine_logits_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    """Scores from the softmax of both maps; the logits themselves are replaced."""
    return plain_replace_(coarse, fine, plain_select(plain_score(coarse.softmax(dim=1), fine.softmax(dim=1)), n_points))


def plain_refine_upsampled(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    wide = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    return plain_refine_(wide, fine, n_points)


def plain_upsample_confidence(coarse: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    wide = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return wide, plain_confidence(wide)


def plain_crop(x: Tensor, boxes: Tensor, output_size: tuple[int, int]) -> Tensor:
    """Slices, resized one by one; equal to RoIAlign for boxes of whole pixels that are not resized."""
    patches = []
    for image, x0, y0, x1, y1 in boxes.long().tolist():
        patch = x[image : image + 1, :, y0:y1, x0:x1]
        if patch.shape[2:] != output_size:
            patch = F.interpolate(patch, output_size, mode="bilinear", align_corners=False)
        patches.append(patch)
    return torch.cat(patches)


def plain_stitch(patches: Tensor, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    total = patches.new_zeros(1, patches.shape[1], *size)
    count = patches.new_zeros(1, 1, *size)
    for patch, (_, x0, y0, x1, y1) in zip(patches, boxes.long().tolist(), strict=True):
        patch = patch[None]
        if patch.shape[2:] != (y1 - y0, x1 - x0):
            patch = F.interpolate(patch, (y1 - y0, x1 - x0), mode="bilinear", align_corners=False)
        total[:, :, y0:y1, x0:x1] += patch
        count[:, :, y0:y1, x0:x1] += 1
    return total / count.clamp(min=1), count > 0


def plain_patch_uncertainty(coarse: Tensor, boxes: Tensor) -> Tensor:
    uncertainty = 1 - plain_confidence(coarse)
    means = [uncertainty[i, 0, y0:y1, x0:x1].mean() for i, x0, y0, x1, y1 in boxes.long().tolist()]
    return torch.stack(means)


# --- written for torch.compile


def top_two(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two highest values, kept in registers over an unrolled loop of the classes."""
    first, second = torch.maximum(x[:, 0], x[:, 1]), torch.minimum(x[:, 0], x[:, 1])
    for c in range(2, x.shape[1]):
        second = torch.maximum(second, torch.minimum(first, x[:, c]))
        first = torch.maximum(first, x[:, c])
    return first, second


def chain_confidence(x: Tensor) -> Tensor:
    first, second = top_two(x)
    return (first - second)[:, None].float()


def chain_confidence_of_logits(x: Tensor) -> Tensor:
    """Without softmax, which the compiler would write to memory: only the sum of the exponentials is needed."""
    first, second = top_two(x)
    total = (x[:, 0] - first).exp()
    for c in range(1, x.shape[1]):
        total = total + (x[:, c] - first).exp()
    return ((1 - (second - first).exp()) / total)[:, None].float()


# Median of nine by 19 exchanges (Smith, Paeth); entry 4 ends up with it.
EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


def network_median3(x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    v = [padded[:, :, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
    for a, b in EXCHANGES:
        v[a], v[b] = torch.minimum(v[a], v[b]), torch.maximum(v[a], v[b])
    return v[4]


def chain_score(coarse: Tensor, fine: Tensor) -> Tensor:
    return network_median3((1 - chain_confidence(coarse)) * chain_confidence(fine))


def chain_score_of_logits(coarse: Tensor, fine: Tensor) -> Tensor:
    return network_median3((1 - chain_confidence_of_logits(coarse)) * chain_confidence_of_logits(fine))


def chain_upsample_confidence(coarse: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    wide = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return wide, chain_confidence(wide)


def chain_write_(coarse: Tensor, fine: Tensor, score: Tensor, lowest: Tensor) -> Tensor:
    return coarse.copy_(torch.where(score >= lowest[:, None, None, None], fine, coarse))


def fused_refine_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    """Scores compiled as one graph; topk, gather and scatter left to torch, which the compiler only makes slower."""
    points = compiled(chain_score)(coarse, fine).flatten(1).topk(n_points, dim=1, sorted=False).indices
    return plain_replace_(coarse, fine, points)


def fused_refine(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    return fused_refine_(coarse.clone(), fine, n_points)


def fused_refine_logits_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    points = compiled(chain_score_of_logits)(coarse, fine).flatten(1).topk(n_points, dim=1, sorted=False).indices
    return plain_replace_(coarse, fine, points)


def fused_where_refine_(coarse: Tensor, fine: Tensor, n_points: int) -> Tensor:
    """As ``fused_refine_``, but every pixel is written, in one compiled pass: for many points. Takes all ties."""
    score = compiled(chain_score)(coarse, fine)
    lowest = score.flatten(1).topk(n_points, dim=1, sorted=False).values.amin(dim=1)
    return compiled(chain_write_)(coarse, fine, score, lowest)


_COMPILED: dict[Callable[..., object], Callable[..., object]] = {}


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """``function`` through torch.compile, once."""
    if function not in _COMPILED:
        _COMPILED[function] = torch.compile(function, fullgraph=True, dynamic=False)
    return _COMPILED[function]


def why_not_compiled(device: str = "cpu") -> str | None:
    """None where torch.compile works here, else the reason."""
    try:
        compiled(chain_confidence)(torch.rand(1, 3, 4, 5, device=device))
    except Exception as error:
        return f"torch.compile does not work here ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
    return None
